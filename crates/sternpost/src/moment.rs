//! Times and durations on the command line: `2013-01-01T05:00:00.000`, `10s`. Written out here because it is one page.

use std::time::Duration;

const DAY_SECONDS: i64 = 86_400;

/// Reads a moment: ISO 8601 with or without time, fraction and zone (UTC without), or milliseconds since 1970. In ms.
///
/// # Errors
/// What is wanted.
pub fn timestamp(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    read_iso(text).ok_or_else(|| {
        "a time like 2013-01-01T05:00:00.000 (UTC, or with Z or +01:00) or milliseconds since 1970 is wanted"
            .to_string()
    })
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn read_iso(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).map_or((text, None), |(date, time)| (date, Some(time)));
    let mut parts = date.splitn(3, '-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let seconds = days_from_1970(year, month, day) * DAY_SECONDS;
    let Some(time) = time else { return Some(seconds * 1000) };
    let (clock, zone_seconds) = split_zone(time)?;
    let (clock, fraction) = clock.split_once('.').map_or((clock, ""), |(clock, fraction)| (clock, fraction));
    let mut parts = clock.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |text| number(text, 2))?;
    if hour > 23 || minute > 59 || second > 59 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    Some((seconds + hour * 3600 + minute * 60 + second - zone_seconds) * 1000 + ms)
}

/// A clock time and its zone's distance from UTC, seconds.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let zone = time[at + 1..].replace(':', "");
    let minutes = number(zone.get(..2)?, 2)? * 60 + if zone.len() > 2 { number(&zone[2..], 2)? } else { 0 };
    let sign = if time.as_bytes()[at] == b'-' { -60 } else { 60 };
    Some((&time[..at], minutes * sign))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    // Leap days of all years before, counted from year 0.
    let leaps =
        |year: i64| (year + 3).div_euclid(4) - (year + 99).div_euclid(100) + (year + 399).div_euclid(400);
    let whole_years = (year - 1970) * 365 + leaps(year) - leaps(1970);
    whole_years + (1..month).map(|month| days_in_month(year, month)).sum::<i64>() + day - 1
}

/// Reads `500ms`, `10s`, `2m`, `1h`; a bare number is seconds.
///
/// # Errors
/// What is wanted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let factor = match &text[digits..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let seconds = text[..digits].parse::<f64>().map_or(f64::NAN, |number| number * factor);
    Duration::try_from_secs_f64(seconds).map_err(|_| "a duration like 500ms, 10s or 2m is wanted".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, ms) in [
            ("1234", 1234),
            ("1970-01-01", 0),
            ("1970-01-01T00:00:01.5", 1500),
            ("2013-01-01T05:00:00.000", 1_357_016_400_000),
            ("2013-01-01T05:00:00Z", 1_357_016_400_000),
            ("2013-01-01T06:00+01:00", 1_357_016_400_000),
            ("2024-02-29T12:00:00", 1_709_208_000_000),
            ("2000-03-01", 951_868_800_000),
            ("1969-12-31T23:59:59", -1000),
        ] {
            assert_eq!(timestamp(text), Ok(ms), "{text}");
        }
        for wrong in ["", "now", "2013-13-01", "2013-02-29", "2013-01-01T25:00", "2013-1-1", "2013-01-01T05"]
        {
            assert!(timestamp(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, ms) in
            [("500ms", 500), ("10s", 10_000), ("10", 10_000), ("2m", 120_000), ("0.5h", 1_800_000)]
        {
            assert_eq!(duration(text).map(|duration| duration.as_millis()), Ok(ms), "{text}");
        }
        for wrong in ["", "s", "10 s", "-1s", "1d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
