//! The faults now in force, and whose turn it is.

use super::{Count, Effect, Fault, FaultId};
use crate::clock::{UnixNanos, nanos};
use crate::frame::Class;

/// The points at which a fault can interfere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A data frame is about to be sent.
    Frame,
    /// A subscription is about to be answered.
    Acknowledgement,
    /// A TCP connection was accepted.
    Connection,
    /// A request came, REST or upgrade.
    Http,
    /// A REST request came.
    Rest,
}

#[derive(Debug)]
struct Active {
    id: FaultId,
    fault: Fault,
    seen: u64,
    until: Option<UnixNanos>,
}

#[derive(Debug, Default)]
pub(crate) struct ActiveFaults {
    active: Vec<Active>,
    last_id: FaultId,
}

impl ActiveFaults {
    /// Numbers a fault, and keeps it unless it happens at once.
    pub(crate) fn add(&mut self, fault: Fault, now: UnixNanos) -> FaultId {
        self.last_id += 1;
        if !fault.effect.is_immediate() {
            let until = fault.effect.lifetime().map(|time| now.saturating_add(nanos(time)));
            self.active.push(Active { id: self.last_id, fault, seen: 0, until });
        }
        self.last_id
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    /// The first fault that takes effect now; its turn is used up by asking.
    pub(crate) fn take(
        &mut self,
        moment: Moment,
        stream: &str,
        class: Class,
        now: UnixNanos,
    ) -> Option<(FaultId, Effect)> {
        self.active.retain(|active| active.until.is_none_or(|until| now < until));
        let taken = self.active.iter_mut().find_map(|active| active.turn(moment, stream, class));
        self.active.retain(|active| active.fault.count != Count::Next(active.seen));
        taken
    }
}

impl Active {
    fn turn(&mut self, moment: Moment, stream: &str, class: Class) -> Option<(FaultId, Effect)> {
        if moment_of(&self.fault.effect) != Some(moment) || !self.fault.filter.matches(stream, class) {
            return None;
        }
        self.seen += 1;
        let due = match self.fault.count {
            Count::Every(n) => self.seen.is_multiple_of(n),
            Count::Next(n) => self.seen <= n,
            Count::All => true,
        };
        due.then(|| (self.id, self.fault.effect.clone()))
    }
}

fn moment_of(effect: &Effect) -> Option<Moment> {
    match effect {
        Effect::Drop
        | Effect::Repeat
        | Effect::Swap
        | Effect::Delay(_)
        | Effect::Split
        | Effect::Malformed
        | Effect::Silence(_) => Some(Moment::Frame),
        Effect::AckLate(_) | Effect::AckAfterData | Effect::AckNever | Effect::RefuseSubscription => {
            Some(Moment::Acknowledgement)
        }
        Effect::Refuse(_) => Some(Moment::Connection),
        Effect::Unavailable(_) => Some(Moment::Http),
        Effect::SlowRest(_) | Effect::TooManyRequests(_) => Some(Moment::Rest),
        Effect::Close(_) | Effect::Reset | Effect::Freeze | Effect::Jump(_) | Effect::Notice => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn turns(faults: &mut ActiveFaults, class: Class, times: usize) -> Vec<bool> {
        (0..times).map(|_| faults.take(Moment::Frame, "s", class, 0).is_some()).collect()
    }

    #[test]
    fn a_count_is_used_up_by_matching_frames_only() {
        let mut faults = ActiveFaults::default();
        faults.add(Fault::new(Effect::Drop).on(Class::Trade).count(Count::Next(2)), 0);
        assert_eq!(turns(&mut faults, Class::Book, 3), [false; 3]);
        assert_eq!(turns(&mut faults, Class::Trade, 3), [true, true, false]);
    }

    #[test]
    fn every_third_means_every_third() {
        let mut faults = ActiveFaults::default();
        faults.add(Fault::new(Effect::Drop).count(Count::Every(3)), 0);
        assert_eq!(turns(&mut faults, Class::Other, 6), [false, false, true, false, false, true]);
    }

    #[test]
    fn a_lasting_fault_ends_by_time_or_when_cleared() {
        let mut faults = ActiveFaults::default();
        let silence = Fault::new(Effect::Silence(Some(Duration::from_nanos(10))));
        faults.add(silence.clone(), 100);
        assert!(faults.take(Moment::Frame, "s", Class::Other, 109).is_some());
        assert!(faults.take(Moment::Frame, "s", Class::Other, 110).is_none());
        faults.add(silence, 200);
        faults.clear();
        assert!(faults.take(Moment::Frame, "s", Class::Other, 201).is_none());
    }
}
