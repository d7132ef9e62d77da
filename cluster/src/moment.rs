//! Sans-IO: a moment as people write it: Unix seconds, or RFC 3339 with its offset from UTC.

/// Unix milliseconds of `1795354200`, `1795354200.5` or `2026-11-22T19:30:00+01:00`; without an
/// offset it is UTC. Seconds may be left out.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        let sound = (0.0..=LATEST_S).contains(&seconds);
        return sound.then_some((seconds * 1000.0) as u64);
    }
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let seconds = midnight(date)? + time_of_day(clock)? - offset(zone)?;
    u64::try_from(seconds).ok().map(|seconds| seconds * 1000)
}

/// Unix seconds as RFC 3339 has them: `2026-11-22T19:30:00Z`; the end of the year 9999 at most.
pub fn format(unix_s: u64) -> String {
    let unix_s = unix_s.min(LATEST_S as u64);
    let (days, second) = (unix_s / 86_400 + EPOCH_DAYS.unsigned_abs(), unix_s % 86_400);
    // Cycles of 400 years, and in each the years that begin in March.
    let (cycle, day) = (days / 146_097, days % 146_097);
    let of_cycle = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (of_cycle * 365 + of_cycle / 4 - of_cycle / 100);
    let march = (5 * day + 2) / 153;
    let day = day - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = cycle * 400 + of_cycle + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The end of the year 9999.
const LATEST_S: f64 = 253_402_300_799.0;

fn midnight(date: &str) -> Option<i64> {
    let [year, month, day] = numbers(date, '-')?[..] else {
        return None;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || year < 1970 {
        return None;
    }
    // Days since the epoch by years that begin in March, so that a leap day is a year's last.
    let (shifted, march) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = shifted / 4 - shifted / 100 + shifted / 400;
    let of_year = (153 * march + 2) / 5 + day - 1;
    Some((shifted * 365 + leaps + of_year - EPOCH_DAYS) * 86_400)
}

/// Days from the first of March of the year 0 to 1970.
const EPOCH_DAYS: i64 = 719_468;

fn time_of_day(text: &str) -> Option<i64> {
    let whole = text.split('.').next()?;
    let parts = numbers(whole, ':')?;
    let (hour, minute) = (*parts.first()?, *parts.get(1)?);
    let second = parts.get(2).copied().unwrap_or(0);
    // A leap second is written 60.
    let sound = parts.len() <= 3 && hour < 24 && minute < 60 && second <= 60;
    sound.then_some(hour * 3600 + minute * 60 + second)
}

fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = numbers(zone.get(1..)?, ':')?[..] else {
        return None;
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Short runs of digits between separators.
fn numbers(text: &str, separator: char) -> Option<Vec<i64>> {
    let number = |part: &str| {
        let digits = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse().ok())?
    };
    text.split(separator).map(number).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_read() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("1795354200", Some(1_795_354_200)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00Z", Some(951_782_400)),
            ("2026-11-22T19:30:00Z", Some(1_795_375_800)),
            ("2026-11-22 19:30", Some(1_795_375_800)),
            ("2026-11-22T20:30:00.25+01:00", Some(1_795_375_800)),
            ("2026-11-22T14:00:00-05:30", Some(1_795_375_800)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-22T24:00:00Z", None),
            ("2026-11-22", None),
            ("tomorrow", None),
            ("-5", None),
            ("nan", None),
            ("1e300", None),
        ] {
            assert_eq!(parse(text), seconds.map(|s: u64| s * 1000), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(unix_s in 0u64..253_402_300_800) {
            prop_assert_eq!(parse(&format(unix_s)), Some(unix_s * 1000), "{}", format(unix_s));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
