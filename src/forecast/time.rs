//! Sans-IO: moments as files write them, and as people read them.
//!
//! ISO 8601 calendar dates in the extended form, with or without a zone (UTC then), and epoch seconds or
//! milliseconds; fractions of a second are cut off. Leaves out time-zone names, week dates and basic form.

/// Unix seconds of a moment; none where the text is none.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let seconds = match text.parse::<f64>() {
        Ok(number) => epoch(number)?,
        Err(_) => iso(text)?,
    };
    (EARLIEST_S..=LATEST_S)
        .contains(&seconds)
        .then_some(seconds)
}

/// Years 1 to 9999.
const EARLIEST_S: i64 = -62_135_596_800;
const LATEST_S: i64 = 253_402_300_799;
/// A number above this counts milliseconds: as seconds it lies in the year 5138, as milliseconds in 1973.
const MILLISECONDS_FROM: f64 = 1e11;

fn epoch(number: f64) -> Option<i64> {
    let seconds = match number.abs() < MILLISECONDS_FROM {
        true => number,
        false => number / 1000.0,
    };
    seconds.is_finite().then_some(seconds.floor() as i64)
}

/// `2026-11-22`, `2026-11-22T10:20`, `2026-11-22 10:20:30.5+08:00` and the like.
fn iso(text: &str) -> Option<i64> {
    let date = text.get(..10)?;
    let mut parts = date.split('-');
    let mut next = |digits| digit_run(parts.next()?, digits);
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
        return None;
    }
    let midnight = days_before(year, month, day) * DAY_S;
    let rest = &text[10..];
    if rest.is_empty() {
        return Some(midnight);
    }
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let end = clock
        .find(['Z', 'z', 'U', '+', '-', ' '])
        .unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(end);
    Some(midnight + time_of_day(clock)? - offset(zone.trim_start())?)
}

fn time_of_day(text: &str) -> Option<i64> {
    let whole = text.split(['.', ',']).next()?;
    let fraction = text[whole.len()..].get(1..).unwrap_or("0");
    let mut parts = whole.split(':');
    let hour = digit_run(parts.next()?, 2)?;
    let minute = digit_run(parts.next()?, 2)?;
    let second = parts
        .next()
        .map_or(Some(0), |second| digit_run(second, 2))?;
    let digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    // A leap second is written 60.
    let sound = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none() && digits;
    sound.then_some(hour * 3600 + minute * 60 + second)
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if ["", "Z", "z", "UTC"].contains(&zone) {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.strip_prefix(['+', '-'])?.replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (digit_run(&digits, 2)?, 0),
        4 => (
            digit_run(digits.get(..2)?, 2)?,
            digit_run(digits.get(2..)?, 2)?,
        ),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digit_run(text: &str, digits: usize) -> Option<i64> {
    let sound = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    sound.then(|| text.parse().ok()).flatten()
}

const DAY_S: i64 = 86_400;

fn days_of(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    days_before(next_year, next_month, 1) - days_before(year, month, 1)
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; years begin in March, so that leap days come last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + of_year - DAYS_TO_1970
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// Year, month (1 to 12) and day of the month in UTC.
fn date(at_s: i64) -> (i64, i64, i64) {
    let day = at_s.div_euclid(DAY_S);
    // Never a later year than the right one, whichever way it lies.
    let mut year = 1970 + day.div_euclid(if day < 0 { 365 } else { 366 });
    while days_before(year + 1, 1, 1) <= day {
        year += 1;
    }
    let month = (1..=12)
        .rev()
        .find(|month| days_before(year, *month, 1) <= day);
    let month = month.unwrap_or(1);
    (year, month, day - days_before(year, month, 1) + 1)
}

/// A short label on an axis of time, UTC: the day at midnight, the time otherwise.
pub fn label(at_s: i64) -> String {
    let of_day = at_s.rem_euclid(DAY_S);
    if of_day != 0 {
        return format!("{:02}:{:02}", of_day / 3600, of_day / 60 % 60);
    }
    let (_, month, day) = date(at_s);
    let names = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    format!("{day} {}", names[usize::try_from(month - 1).unwrap_or(0)])
}

/// A moment to the minute, UTC.
pub fn moment(at_s: i64) -> String {
    let (year, month, day) = date(at_s);
    let of_day = at_s.rem_euclid(DAY_S);
    let (hour, minute) = (of_day / 3600, of_day / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}Z")
}

/// A length in words: `15 min`, `1 h`.
pub fn length(seconds: u32) -> String {
    match seconds {
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3600 == 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_read_in_the_forms_that_files_have() {
        let check = |text, expect| assert_eq!(parse(text), expect, "{text:?}");
        for text in [
            "2024-05-01T00:05:00Z",
            "2024-05-01 00:05:00",
            "2024-05-01T00:05",
            "2024-05-01T00:05:00.999",
            " 2024-05-01 00:05:00.5 UTC ",
            "2024-05-01T08:05:00+08:00",
            "2024-04-30T21:05:00-0300",
            "1714521900",
            "1714521900.25",
            "1714521900000",
            "1.7145219e9",
        ] {
            check(text, Some(1_714_521_900));
        }
        check("2024-05-01", Some(1_714_521_600));
        check("2024-02-29", Some(1_709_164_800));
        check("0", Some(0));
        check("1969-12-31T23:59:59Z", Some(-1));
        for text in [
            "",
            "yesterday",
            "NaN",
            "inf",
            "1e300",
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-05-01T24:00",
            "2024-05-01T00:60",
            "2024-05-01T00",
            "2024-05-01X00:00",
            "2024-05-01T00:05:00+8",
            "2024-05-01T00:05:00.",
            "24-05-01",
            "2024-05-0é",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn axes_say_the_day_at_midnight_and_the_time_otherwise() {
        assert_eq!(label(1_714_521_600), "1 May");
        assert_eq!(label(1_709_164_800), "29 Feb");
        assert_eq!(label(1_714_521_900), "00:05");
        assert_eq!(
            [60, 5400, 3600, 86_400].map(length),
            ["1 min", "90 min", "1 h", "1 d"]
        );
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,40}") {
            parse(&text);
        }

        #[test]
        fn days_and_their_labels_agree(day in -700_000_i64..2_900_000) {
            let (year, month, of_month) = date(day * DAY_S);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&of_month));
            prop_assert_eq!(days_before(year, month, of_month), day);
        }
    }
}
