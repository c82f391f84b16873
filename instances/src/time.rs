//! Points in time, as they are kept, printed and asked for.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};
use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// Text that is no point in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a time: write how long ago (10m, 1h30m), a date and time \
     (2026-01-31T12:00:00Z) or seconds since 1970"
)]
pub struct ParseTimeError(String);

impl Timestamp {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(i64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX))
    }

    /// Of the time of a file.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub fn nanos(self) -> i64 {
        self.0
    }

    /// How long ago it was at `now`; nothing when it is yet to come.
    #[must_use]
    pub fn age(self, now: Self) -> Duration {
        Duration::from_nanos(u64::try_from(now.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// What a user asks for: `10m` before `now`, a date, a date and time, or seconds since
    /// 1970.
    ///
    /// # Errors
    ///
    /// [`ParseTimeError`].
    pub fn asked(text: &str, now: Self) -> Result<Self, ParseTimeError> {
        if let Some(ago) = duration(text) {
            let nanos = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
            return Ok(Self(now.0.saturating_sub(nanos)));
        }
        if let Ok(time) = text.parse() {
            return Ok(time);
        }
        if let Some(time) = unix(text) {
            return Ok(Self(time));
        }
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
        let day = day.and_then(|day| day.and_hms_opt(0, 0, 0));
        let wrong = || ParseTimeError(text.to_owned());
        let local =
            day.or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok());
        local.and_then(|time| time.and_utc().timestamp_nanos_opt()).map(Self).ok_or_else(wrong)
    }
}

/// `1136073600.5`
fn unix(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// `1h30m`, as Go writes durations.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let number: f64 = rest[..end].parse().ok()?;
        let after = &rest[end..];
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit = match &after[..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
        rest = &after[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

/// RFC 3339 with nine digits of a second, which sorts as text.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::from_timestamp_nanos(self.0);
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Nanos, true))
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        let time = DateTime::parse_from_rfc3339(text).ok();
        let nanos = time.and_then(|time| time.timestamp_nanos_opt());
        nanos.map(Self).ok_or_else(|| ParseTimeError(text.to_owned()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = ParseTimeError;

    fn try_from(text: String) -> Result<Self, ParseTimeError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        let now = Timestamp::now();
        assert_eq!(now.to_string().parse::<Timestamp>().unwrap(), now);
        assert_eq!(Timestamp(1_500_000_001).to_string(), "1970-01-01T00:00:01.500000001Z");
    }

    #[test]
    fn times_are_asked_for_as_docker_takes_them() {
        let now = Timestamp(10_000 * 1_000_000_000);
        let seconds =
            |text| Timestamp::asked(text, now).map(|time| time.0 / 1_000_000_000).ok();
        assert_eq!(seconds("10s"), Some(9_990));
        assert_eq!(seconds("1h30m"), Some(10_000 - 5400));
        assert_eq!(seconds("1136073600"), Some(1_136_073_600));
        assert_eq!(seconds("1970-01-01T00:01:00Z"), Some(60));
        assert_eq!(seconds("1970-01-01T01:01:00+01:00"), Some(60));
        assert_eq!(seconds("1970-01-01T00:01:00"), Some(60));
        assert_eq!(seconds("1970-01-02"), Some(86_400));
        assert_eq!(Timestamp::asked("0.25", now).unwrap().0, 250_000_000);
        for wrong in ["", "s", "-5s", "1x", "yesterday", "5m x"] {
            assert!(Timestamp::asked(wrong, now).is_err(), "{wrong}");
        }
    }
}
