//! The event clock of a stream: the time its windows follow.

use std::time::Duration;

use crate::time::UnixNanos;

/// A venue time further ahead of our clock than this is not trusted.
const MAX_AHEAD: Duration = Duration::from_secs(5);

/// The venue time, if it is known and can be trusted at `now`.
pub(crate) fn trusted(ts_exchange: Option<UnixNanos>, now: UnixNanos) -> Option<UnixNanos> {
    ts_exchange.filter(|ts| *ts <= now.plus(MAX_AHEAD))
}

/// What drives an [`EventClock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockPace {
    /// The venues' times, for streams with a market source.
    Venues,
    /// Our own clock, for streams without one.
    Ours,
}

/// The time that the windows of one stream follow: the greatest trusted venue time seen.
///
/// - It does not exist before the first trusted time.
/// - It never runs back.
/// - After twice the greatest lag without an event that carries a trusted time, it goes on from where it stands at wall pace. Events
///   without such a time do not hold it, or a busy social source would keep the windows of a silent market open for ever.
/// - With [`ClockPace::Ours`] it is our own clock.
#[derive(Clone, Debug)]
pub struct EventClock {
    pace: ClockPace,
    max_lag: Duration,
    reading: Option<ClockReading>,
}

#[derive(Clone, Copy, Debug)]
struct ClockReading {
    /// What the clock shows.
    shown: UnixNanos,
    /// Our time of the last event. If this is long ago, the clock runs on at wall pace.
    heard: UnixNanos,
    /// The most that a trusted time was ahead of our clock, in nanoseconds; below zero where all were behind.
    lead: i64,
    /// Since which event time it has run without a leap.
    steady_since: UnixNanos,
}

impl ClockReading {
    fn first(ts: UnixNanos, now: UnixNanos) -> Self {
        Self { shown: ts, heard: now, lead: lead(ts, now), steady_since: ts }
    }
}

fn lead(ts: UnixNanos, now: UnixNanos) -> i64 {
    ts.as_nanos().saturating_sub(now.as_nanos())
}

impl EventClock {
    /// A clock for a stream that begins at `now` and waits `max_lag` for what is late.
    pub fn new(pace: ClockPace, max_lag: Duration, now: UnixNanos) -> Self {
        let reading = (pace == ClockPace::Ours).then(|| ClockReading::first(now, now));
        Self { pace, max_lag, reading }
    }

    /// Takes note of an event that arrived at `now`, and gives the time at which it counts: the venue's where it is known and
    /// trusted, else what the clock shows. `None` while there is no clock.
    pub fn observe(&mut self, ts_exchange: Option<UnixNanos>, now: UnixNanos) -> Option<UnixNanos> {
        let shown = self.now(now);
        let Some(ts) = trusted(ts_exchange, now) else { return shown };
        if self.pace == ClockPace::Venues {
            self.hear(ts, now);
        }
        Some(ts)
    }

    fn hear(&mut self, ts: UnixNanos, now: UnixNanos) {
        let patience = i64::try_from(self.max_lag.as_nanos()).unwrap_or(i64::MAX);
        let reading = self.reading.get_or_insert_with(|| ClockReading::first(ts, now));
        let lead = lead(ts, now);
        if lead > reading.lead.saturating_add(patience) {
            reading.steady_since = ts;
        }
        reading.lead = reading.lead.max(lead);
        reading.shown = reading.shown.max(ts);
        reading.heard = now;
    }

    /// What the clock shows at `now`.
    pub fn now(&mut self, now: UnixNanos) -> Option<UnixNanos> {
        let patience = self.patience();
        let reading = self.reading.as_mut()?;
        if now < reading.heard {
            // Our clock was set back: wait from here, or the event clock would stand still until it has caught up.
            reading.heard = now;
        }
        let waited = now.since(reading.heard);
        if waited > patience {
            reading.shown = reading.shown.plus(waited - patience);
            reading.heard = now.minus(patience);
        }
        Some(reading.shown)
    }

    /// How far events may lie behind the greatest time: what is older than this counts as late.
    pub fn watermark(&mut self, now: UnixNanos) -> Option<UnixNanos> {
        Some(self.now(now)?.minus(self.max_lag))
    }

    /// The event time since which the clock has kept pace with the wall: its first, or the end of its last leap. It leaps when a time is
    /// further ahead of our clock than any before, by more than the greatest lag. So it does after a first event that was stale: what
    /// lies between, nobody watched.
    pub fn steady_since(&self) -> Option<UnixNanos> {
        Some(self.reading?.steady_since)
    }

    /// When, by our clock, the watermark reaches `time` if nothing more is heard. `None` while there is no clock.
    pub fn deadline(&self, time: UnixNanos) -> Option<UnixNanos> {
        let reading = self.reading?;
        let missing = time.plus(self.max_lag).since(reading.shown);
        Some(reading.heard.plus(self.patience()).plus(missing))
    }

    fn patience(&self) -> Duration {
        match self.pace {
            ClockPace::Venues => self.max_lag * 2,
            ClockPace::Ours => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_millis(250);

    fn ms(millis: i64) -> UnixNanos {
        UnixNanos::from_millis(millis)
    }

    fn clock() -> EventClock {
        EventClock::new(ClockPace::Venues, LAG, ms(0))
    }

    #[test]
    fn it_does_not_exist_before_the_first_trusted_time() {
        let mut clock = clock();
        assert_eq!(clock.observe(None, ms(10_000)), None);
        assert_eq!(clock.now(ms(20_000)), None);
        assert_eq!(clock.deadline(ms(0)), None);
        assert_eq!(clock.observe(Some(ms(20_100)), ms(20_000)), Some(ms(20_100)));
        assert_eq!(clock.now(ms(20_000)), Some(ms(20_100)));
        assert_eq!(clock.watermark(ms(20_000)), Some(ms(19_850)));
    }

    #[test]
    fn a_time_more_than_five_seconds_ahead_is_not_trusted() {
        let mut clock = clock();
        assert_eq!(clock.observe(Some(ms(15_001)), ms(10_000)), None);
        assert_eq!(clock.observe(Some(ms(15_000)), ms(10_000)), Some(ms(15_000)));
        assert_eq!(clock.observe(Some(ms(15_101)), ms(10_100)), Some(ms(15_000)), "counts when it arrives");
    }

    #[test]
    fn it_is_the_greatest_time_and_never_runs_back() {
        let mut clock = clock();
        clock.observe(Some(ms(1_000)), ms(1_010));
        assert_eq!(clock.observe(Some(ms(700)), ms(1_020)), Some(ms(700)), "an old event keeps its own time");
        assert_eq!(clock.now(ms(1_020)), Some(ms(1_000)));
        clock.now(ms(9_000));
        let shown = clock.now(ms(9_000));
        assert_eq!(clock.now(ms(5_000)), shown, "our clock was set back");
        assert_eq!(clock.now(ms(5_600)), shown.map(|t| t.plus(Duration::from_millis(100))));
    }

    #[test]
    fn after_twice_the_lag_it_goes_on_from_where_it_stands() {
        let mut clock = clock();
        clock.observe(Some(ms(1_000)), ms(1_100));
        assert_eq!(clock.now(ms(1_600)), Some(ms(1_000)));
        assert_eq!(clock.now(ms(1_601)), Some(ms(1_001)));
        assert_eq!(clock.now(ms(2_600)), Some(ms(2_000)), "asking in between changes nothing");
        assert_eq!(
            clock.observe(None, ms(2_700)),
            Some(ms(2_100)),
            "an event without a time takes the clock's"
        );
        assert_eq!(clock.now(ms(2_800)), Some(ms(2_200)), "and does not hold it");
    }

    #[test]
    fn the_deadline_is_when_the_watermark_gets_there_in_silence() {
        let mut clock = clock();
        clock.observe(Some(ms(4_000)), ms(4_050));
        let deadline = clock.deadline(ms(5_000)).expect("clock");
        assert_eq!(deadline, ms(4_050 + 500 + 1_250));
        assert!(clock.watermark(deadline.minus(Duration::from_millis(1))) < Some(ms(5_000)));
        assert_eq!(clock.watermark(deadline), Some(ms(5_000)));
    }

    #[test]
    fn a_stream_without_a_market_source_uses_our_clock() {
        let mut clock = EventClock::new(ClockPace::Ours, LAG, ms(100));
        assert_eq!(clock.now(ms(150)), Some(ms(150)));
        assert_eq!(clock.observe(None, ms(160)), Some(ms(160)));
        assert_eq!(
            clock.observe(Some(ms(900)), ms(170)),
            Some(ms(900)),
            "its own time, which moves no clock"
        );
        assert_eq!(clock.now(ms(180)), Some(ms(180)));
        assert_eq!(clock.now(ms(170)), Some(ms(180)));
        assert_eq!(
            clock.deadline(ms(1_000)),
            Some(ms(1_250 - 10)),
            "as seen from the clock that was set back"
        );
    }

    #[test]
    fn a_leap_is_told_from_the_passing_of_time() {
        let mut clock = clock();
        clock.observe(Some(ms(1_000)), ms(9_000));
        clock.observe(Some(ms(9_000)), ms(9_050));
        assert_eq!(clock.steady_since(), Some(ms(9_000)), "the first event was stale");
        clock.observe(Some(ms(12_000)), ms(12_050));
        clock.observe(Some(ms(12_200)), ms(12_060));
        assert_eq!(clock.steady_since(), Some(ms(9_000)), "silence and jitter are no leap");
        clock.observe(Some(ms(14_000)), ms(13_000));
        assert_eq!(clock.steady_since(), Some(ms(14_000)));
        clock.observe(Some(ms(15_000)), ms(15_000));
        clock.observe(Some(ms(16_100)), ms(15_100));
        assert_eq!(
            clock.steady_since(),
            Some(ms(14_000)),
            "one venue's clock is always ahead of the other's"
        );
    }
}
