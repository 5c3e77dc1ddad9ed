//! How far "without", "no" and "except" reach.

use std::mem::{Discriminant, discriminant};

use super::lexicon::Watch;
use super::phrase::{Item, Phrase};

/// Marks what is negated: the first thing after a negator and, in a list with it, more of the same kind.
///
/// `with` and `+` end a negation, and so does a thing of another kind: in "ETH price without tweets and BTC", BTC is wanted.
///
/// Returns the places of things of another kind that were in such a list, and are wanted: a reader may have meant otherwise.
pub(super) fn negate(phrases: &mut [Phrase]) -> Vec<usize> {
    let negators: Vec<usize> = (0..phrases.len()).filter(|at| is_negator(phrases, *at)).collect();
    negators.into_iter().filter_map(|at| reach(phrases, at + 1)).collect()
}

/// The place of a negation that is meant for some of the assets only: "no ETH tweets", or "without tweets about ETH" in a sentence
/// about others too. There is no such thing: what is taken away is taken from all.
pub(super) fn partial(phrases: &[Phrase]) -> Option<usize> {
    (0..phrases.len()).find(|at| {
        let phrase = &phrases[*at];
        let mut rest =
            phrases[at + 1..].iter().filter(|next| next.item != Item::Noise).map(|next| &next.item);
        match phrase.item {
            Item::Asset(_) if phrase.negated => matches!(rest.next(), Some(Item::Watch(_) | Item::Depth(_))),
            Item::Watch(_) if phrase.negated && rest.next() == Some(&Item::Of) => {
                rest.next().is_some_and(|object| is_one_of_several(phrases, object))
            }
            _ => false,
        }
    })
}

fn is_one_of_several(phrases: &[Phrase], object: &Item) -> bool {
    let other =
        |phrase: &Phrase| matches!(phrase.item, Item::Asset(_)) && !phrase.negated && phrase.item != *object;
    matches!(object, Item::Asset(_)) && phrases.iter().any(other)
}

/// "but" negates after "everything" and "all exchanges", unless it leads to something that is given.
fn is_negator(phrases: &[Phrase], at: usize) -> bool {
    match phrases[at].item {
        Item::Negator => true,
        Item::But => {
            let general =
                |phrase: &Phrase| matches!(phrase.item, Item::Watch(Watch::Everything) | Item::AllVenues);
            phrases[..at].iter().any(general)
        }
        _ => false,
    }
}

fn reach(phrases: &mut [Phrase], from: usize) -> Option<usize> {
    let mut reached: Option<Discriminant<Kind>> = None;
    for (at, phrase) in phrases.iter_mut().enumerate().skip(from) {
        match kind(&phrase.item) {
            Some(kind) if reached.is_none_or(|reached| reached == discriminant(&kind)) => {
                reached = Some(discriminant(&kind));
                phrase.negated = true;
            }
            Some(_) => return Some(at).filter(|at| matches!(phrases[at - 1].item, Item::And { .. })),
            None if may_stand_between(&phrase.item, reached.is_some()) => {}
            None => return None,
        }
    }
    None
}

/// A list goes on over its joints; before its first member there is none, and "don't include" is no giving again.
const fn may_stand_between(item: &Item, in_list: bool) -> bool {
    match item {
        Item::Noise | Item::Of | Item::At | Item::All | Item::Strange { .. } => true,
        Item::With => !in_list,
        Item::And { plus } => in_list && !*plus,
        _ => false,
    }
}

enum Kind {
    Watch,
    Asset,
    Venue,
    Market,
    Windows,
}

const fn kind(item: &Item) -> Option<Kind> {
    Some(match item {
        Item::Watch(_) | Item::Depth(_) | Item::Figure { .. } | Item::Unsupported => Kind::Watch,
        Item::Asset(_) => Kind::Asset,
        Item::Venue(_) => Kind::Venue,
        Item::Market(_) => Kind::Market,
        Item::Windows => Kind::Windows,
        _ => return None,
    })
}
