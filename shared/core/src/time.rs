//! Points in time, and the port through which wall time comes in.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;

/// A point in time: nanoseconds since 1970-01-01T00:00:00Z, without leap seconds.
///
/// Covers 1677 to 2262. Arithmetic saturates at these ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixNanos(i64);

impl UnixNanos {
    /// The epoch itself; also "before everything" for comparisons.
    pub const EPOCH: Self = Self(0);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the epoch, the unit of most venues.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// This point moved later by `by`.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// This point moved earlier by `by`.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }

    /// The time from `earlier` to this point; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// The start of the window of length `window` that contains this point, with windows aligned to the epoch.
    /// If `window` is zero, this is the point itself.
    pub fn window_start(self, window: Duration) -> Self {
        match nanos(window) {
            0 => self,
            length => Self(self.0.saturating_sub(self.0.rem_euclid(length))),
        }
    }

    /// Appends RFC 3339 in UTC with milliseconds, such as `2026-11-21T10:00:05.000Z`.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        let millis = self.as_millis();
        let moment = OffsetDateTime::from_unix_timestamp(millis.div_euclid(1000))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, clock) = (moment.date(), moment.time());
        write_digits(out, date.year().unsigned_abs(), 4);
        for (separator, part) in [
            (b'-', u8::from(date.month())),
            (b'-', date.day()),
            (b'T', clock.hour()),
            (b':', clock.minute()),
            (b':', clock.second()),
        ] {
            out.push(separator);
            write_digits(out, part.into(), 2);
        }
        out.push(b'.');
        write_digits(out, u32::try_from(millis.rem_euclid(1000)).unwrap_or(0), 3);
        out.push(b'Z');
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn write_digits(out: &mut Vec<u8>, value: u32, width: u32) {
    for place in (0..width).rev() {
        let digit = value / 10_u32.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

impl fmt::Display for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.write_rfc3339(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}({})", self.0)
    }
}

/// Wall time. Timers and deadlines belong to the runtime, not here.
pub trait Clock: Send + Sync {
    /// The current time. May step when the system's clock is set.
    fn now(&self) -> UnixNanos;
}

/// A clock for tests that stands still until it is set or advanced.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: UnixNanos) -> Self {
        Self(AtomicI64::new(now.as_nanos()))
    }

    /// Sets the clock to `now`.
    pub fn set(&self, now: UnixNanos) {
        self.0.store(now.as_nanos(), Ordering::SeqCst);
    }

    /// Moves the clock forward by `by`.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_rfc3339_with_milliseconds() {
        let moment = UnixNanos::from_millis(1_723_161_255_208);
        assert_eq!(moment.to_string(), "2024-08-08T23:54:15.208Z");
    }

    #[test]
    fn windows_are_aligned_to_the_epoch() {
        let moment = UnixNanos::from_millis(12_345);
        assert_eq!(moment.window_start(Duration::from_secs(5)), UnixNanos::from_secs(10));
    }
}
