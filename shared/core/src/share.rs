//! A bound on a sum: which of its parts have to shrink.

/// The level to which the largest sizes must be cut so that the sum is at most `most`. Sizes below the level stay as they are. `None` if
/// the sum is within the bound already. For example, sizes 1, 5 and 9 with a bound of 9 give 4: 1 + 4 + 4.
pub fn level(sizes: &[usize], most: usize) -> Option<usize> {
    if sizes.iter().sum::<usize>() <= most {
        return None;
    }
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    let mut room = most;
    for (index, size) in sizes.iter().enumerate() {
        let share = room / (sizes.len() - index);
        if *size > share {
            return Some(share);
        }
        room -= size;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_give_way() {
        for (sizes, most, expected) in [
            (vec![], 0, None),
            (vec![10, 20, 30], 60, None),
            (vec![10, 20, 30], 59, Some(29)),
            (vec![10, 20, 30], 40, Some(15)),
            (vec![30, 1, 30, 1], 42, Some(20)),
            (vec![5, 5], 0, Some(0)),
        ] {
            assert_eq!(level(&sizes, most), expected, "{sizes:?} within {most}");
        }
    }

    #[test]
    fn what_is_left_is_within_the_bound() {
        let sizes: Vec<usize> = (0..97).map(|n| n * n % 101).collect();
        for most in 0..sizes.iter().sum() {
            let level = level(&sizes, most).expect("something gives way");
            let left: usize = sizes.iter().map(|size| (*size).min(level)).sum();
            assert!(left <= most && most - left < sizes.len(), "{left} of {most}");
        }
    }
}
