//! Times as text, by RFC 3339.

use std::time::{Duration, SystemTime};

/// The last time that RFC 3339 has a form for, to the second: the end of the year 9999.
const LAST: u64 = 253_402_300_799;

/// As UTC, to the microsecond. What lies outside of the years 1970 to 9999 is moved to their ends.
pub(crate) fn micros(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(within_years(time)).to_string()
}

/// As [`micros`], to the millisecond.
pub(crate) fn millis(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(within_years(time)).to_string()
}

fn within_years(time: SystemTime) -> SystemTime {
    let first = SystemTime::UNIX_EPOCH;
    let last = first.checked_add(Duration::from_secs(LAST)).unwrap_or(first);
    time.clamp(first, last)
}

/// Reads a time of RFC 3339, in whatever zone, from 1970 on; `None` if it is none.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let text = text.to_ascii_uppercase();
    let (local, offset) = match text.strip_suffix('Z') {
        Some(local) => (local, "+00:00"),
        None => text.split_at_checked(text.len().checked_sub(6)?)?,
    };
    let (west, offset) = match offset.split_at_checked(1)? {
        ("+", offset) => (false, offset),
        ("-", offset) => (true, offset),
        _ => return None,
    };
    let (hours, minutes) = offset.split_once(':')?;
    let (hours, minutes) = (two_digits(hours, 23)?, two_digits(minutes, 59)?);
    let offset = Duration::from_secs(u64::from(hours * 60 + minutes) * 60);
    // humantime takes more than times for times.
    let fraction = local.get(19..)?;
    let digits = fraction.strip_prefix('.').unwrap_or(fraction);
    if digits.is_empty() != fraction.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    if west { time.checked_add(offset) } else { time.checked_sub(offset) }
}

fn two_digits(text: &str, most: u32) -> Option<u32> {
    let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| plain && *number <= most)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn at(secs: u64, nanos: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(secs, nanos)
    }

    #[test]
    fn times_of_all_zones_are_read() {
        let moment = Some(at(1_790_000_000, 0));
        assert_eq!(parse("2026-09-21T14:13:20Z"), moment);
        assert_eq!(parse("2026-09-21t14:13:20.000z"), moment);
        assert_eq!(parse("2026-09-21T16:13:20+02:00"), moment);
        assert_eq!(parse("2026-09-21T08:43:20-05:30"), moment);
        assert_eq!(parse("2026-09-21T14:13:20.1234567Z"), Some(at(1_790_000_000, 123_456_700)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let texts = [
            "",
            "Z",
            "yesterday",
            "2026-09-21",
            "2026-09-21T14:13:20",
            "2026-09-21T14:13Z",
            "2026-09-21T14:13:20ZZ",
            "2026-09-21T14:13:20.Z",
            "2026-09-21T14:13:20.1.1Z",
            "2026-09-21T14:13:20+2:00",
            "2026-09-21T14:13:20+24:00",
            "2026-09-21T14:13:20*02:00",
            "2026-02-30T14:13:20Z",
            "1969-12-31T23:59:59Z",
            "2026-09-21T14:13:20é02:00",
            "２026-09-21T14:13:20Z",
        ];
        for text in texts {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_written_to_the_microsecond_within_the_years_that_have_a_form() {
        assert_eq!(micros(at(1_790_000_000, 123_456_789)), "2026-09-21T14:13:20.123456Z");
        assert_eq!(micros(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(micros(at(LAST + 1, 0)), "9999-12-31T23:59:59.000000Z");
    }
}
