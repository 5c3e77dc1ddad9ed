//! The event clock of a stream: the time by which its windows open and close.

use std::time::Duration;

use crate::time::UnixNanos;

/// A venue time that is further ahead of our clock than this is not trusted. Otherwise one wrong time would close windows early, and
/// everything after it would count as late.
const MAX_AHEAD: Duration = Duration::from_secs(5);

/// The venue time, if it is known and can be trusted at `now`.
pub(crate) fn trusted(ts_exchange: Option<UnixNanos>, now: UnixNanos) -> Option<UnixNanos> {
    ts_exchange.filter(|ts| *ts <= now.plus(MAX_AHEAD))
}

/// Which time drives an [`EventClock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockPace {
    /// The venues' times, for streams with a market source.
    Venues,
    /// Our own clock, for streams without one.
    Ours,
}

/// The time that the windows of one stream follow: the greatest trusted venue time seen so far.
///
/// - The clock does not exist before the first trusted time.
/// - The clock never goes back.
/// - In silence, the clock runs on. If no event with a trusted time arrives for twice the maximum lag, it advances at the pace of our
///   own clock. Otherwise the last window before a silence would never close. Events without a trusted time do not end the silence, or a
///   busy social source would keep the windows of a silent market open for ever.
/// - With [`ClockPace::Ours`] the clock is our own clock.
///
/// For example, with a maximum lag of 250 ms an event with venue time 10.000 s arrives at 10.100 s by our clock:
///
/// | our clock | what happens | event clock | watermark |
/// |---|---|---|---|
/// | 10.100 | the event arrives | 10.000 | 9.750 |
/// | 10.300 | an event of 9.900 arrives late: no change | 10.000 | 9.750 |
/// | 10.800 | silence for 500 ms: the clock begins to run | 10.000 | 9.750 |
/// | 11.050 | still silence | 10.250 | 10.000: the window up to 10.000 closes |
#[derive(Clone, Debug)]
pub struct EventClock {
    pace: ClockPace,
    max_lag: Duration,
    reading: Option<ClockReading>,
}

#[derive(Clone, Copy, Debug)]
struct ClockReading {
    /// The event time that the clock shows.
    shown: UnixNanos,
    /// When the last event with a trusted time arrived, by our clock. If this is long ago, the clock runs on by itself.
    last_event_at: UnixNanos,
    /// The most by which a trusted time was ahead of our clock, in nanoseconds; negative if all times were behind.
    lead: i64,
    /// The event time since which the clock has run without a leap.
    steady_since: UnixNanos,
}

impl ClockReading {
    fn first(ts: UnixNanos, now: UnixNanos) -> Self {
        Self { shown: ts, last_event_at: now, lead: lead(ts, now), steady_since: ts }
    }
}

fn lead(ts: UnixNanos, now: UnixNanos) -> i64 {
    ts.as_nanos().saturating_sub(now.as_nanos())
}

impl EventClock {
    /// A clock for a stream that begins at `now` and waits `max_lag` for late events.
    pub fn new(pace: ClockPace, max_lag: Duration, now: UnixNanos) -> Self {
        let reading = (pace == ClockPace::Ours).then(|| ClockReading::first(now, now));
        Self { pace, max_lag, reading }
    }

    /// Advances the clock by an event that arrived at `now`. Returns the time at which the event counts: the venue's time if it is known
    /// and trusted, else the time that the clock shows. `None` while the clock does not exist.
    pub fn observe(&mut self, ts_exchange: Option<UnixNanos>, now: UnixNanos) -> Option<UnixNanos> {
        let shown = self.now(now);
        let Some(ts) = trusted(ts_exchange, now) else { return shown };
        if self.pace == ClockPace::Venues {
            self.advance(ts, now);
        }
        Some(ts)
    }

    fn advance(&mut self, ts: UnixNanos, now: UnixNanos) {
        let max_lag = i64::try_from(self.max_lag.as_nanos()).unwrap_or(i64::MAX);
        let reading = self.reading.get_or_insert_with(|| ClockReading::first(ts, now));
        let lead = lead(ts, now);
        if lead > reading.lead.saturating_add(max_lag) {
            reading.steady_since = ts;
        }
        reading.lead = reading.lead.max(lead);
        reading.shown = reading.shown.max(ts);
        reading.last_event_at = now;
    }

    /// The event time at `now`; `None` while the clock does not exist.
    pub fn now(&mut self, now: UnixNanos) -> Option<UnixNanos> {
        let max_silence = self.max_silence();
        let reading = self.reading.as_mut()?;
        if now < reading.last_event_at {
            // Our clock was set back. Measure the silence from here, or the event clock would stand still until ours has caught up.
            reading.last_event_at = now;
        }
        let waited = now.since(reading.last_event_at);
        if waited > max_silence {
            // What has been added now must not be added again by the next call.
            reading.shown = reading.shown.plus(waited - max_silence);
            reading.last_event_at = now.minus(max_silence);
        }
        Some(reading.shown)
    }

    /// The time up to which events are taken to be complete: the event time less the maximum lag. Older events count as late.
    pub fn watermark(&mut self, now: UnixNanos) -> Option<UnixNanos> {
        Some(self.now(now)?.minus(self.max_lag))
    }

    /// The event time since which the clock has kept pace with our own: the first time it showed, or the end of its last leap.
    ///
    /// The clock leaps if a venue time is further ahead of our clock than all before, by more than the maximum lag. This happens when the
    /// first event was stale. For example, a venue first sends a trade that is an hour old, and then a current one: the clock leaps by an
    /// hour. Nobody watched the market during that hour, so windows before the end of the leap are not complete.
    pub fn steady_since(&self) -> Option<UnixNanos> {
        Some(self.reading?.steady_since)
    }

    /// When, by our clock, the watermark reaches `time` if no more events arrive. `None` while the clock does not exist.
    pub fn deadline(&self, time: UnixNanos) -> Option<UnixNanos> {
        let reading = self.reading?;
        let missing = time.plus(self.max_lag).since(reading.shown);
        Some(reading.last_event_at.plus(self.max_silence()).plus(missing))
    }

    /// How long no event may arrive before the clock runs on by itself.
    fn max_silence(&self) -> Duration {
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
