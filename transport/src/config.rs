//! Values as people write them in the configuration: `"5s"`, `"256MiB"`, and secrets.
//!
//! One number and one unit, no sign, fraction or space; what is printed reads back as the same
//! value. Leaves out which keys exist: each crate owns its own `Config`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written `"300ms"`, `"5s"`, `"2m"`, `"1h"` or `"1d"`; whole microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(time::Duration);

impl Duration {
    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(time::Duration::from_secs(secs))
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }

    /// The length as the standard library has it.
    pub const fn get(self) -> time::Duration {
        self.0
    }

    /// Whole milliseconds, rounded down.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl From<time::Duration> for Duration {
    /// Cuts off what is smaller than a microsecond.
    fn from(value: time::Duration) -> Self {
        Self(time::Duration::from_micros(
            u64::try_from(value.as_micros()).unwrap_or(u64::MAX),
        ))
    }
}

impl From<Duration> for time::Duration {
    fn from(value: Duration) -> Self {
        value.0
    }
}

impl FromStr for Duration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let micros = parse(
            text,
            &DURATION_UNITS,
            "a duration such as \"300ms\", \"5s\" or \"2m\"",
        )?;
        Ok(Self(time::Duration::from_micros(micros)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        if micros == 0 {
            f.write_str("0s")
        } else {
            print(f, micros, &DURATION_UNITS)
        }
    }
}

/// A number of bytes, written `"64KiB"`, `"256MiB"`, `"10GB"` or `"1500B"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(u64);

impl Bytes {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many mebibytes.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a size in memory, at most what this machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(
            text,
            &BYTES_UNITS,
            "a size such as \"64KiB\", \"256MiB\" or \"10GB\"",
        )
        .map(Self)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &BYTES_UNITS)
    }
}

/// A text that is never shown: not in logs, not by `Debug`, not when a configuration is printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "***" }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

/// Why a text is no such value; it says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one number followed by one known unit.
    #[error("\"{text}\" is not {expected}")]
    Form {
        /// What was written.
        text: String,
        /// What may be written.
        expected: &'static str,
    },
    /// The number does not fit.
    #[error("\"{0}\" is too large")]
    TooLarge(String),
}

/// Smallest first; an amount is printed in the largest unit that leaves no rest.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

const BYTES_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

fn parse(text: &str, units: &[(&str, u64)], expected: &'static str) -> Result<u64, Error> {
    let quoted = || text.chars().take(MAX_QUOTED).collect::<String>();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Some(&(_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(Error::Form {
            text: quoted(),
            expected,
        });
    };
    if number.is_empty() {
        return Err(Error::Form {
            text: quoted(),
            expected,
        });
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| Error::TooLarge(quoted()))
}

fn print(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)]) -> fmt::Result {
    let whole = units
        .iter()
        .rev()
        .find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor));
    let (unit, factor) = whole.unwrap_or(&units[0]);
    write!(f, "{}{unit}", amount / factor)
}

/// How much of a wrong value an error repeats: enough to find it in the file.
const MAX_QUOTED: usize = 40;

macro_rules! as_text {
    ($name:ident, $pattern:literal, $description:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "description": $description,
                })
            }
        }
    };
}

as_text!(
    Duration,
    "^[0-9]+(us|ms|s|m|h|d)$",
    "a duration such as 300ms, 5s or 2m"
);
as_text!(
    Bytes,
    "^[0-9]+([kMGT]?B|[KMGT]iB)$",
    "a size such as 64KiB, 256MiB or 10GB"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        let check = |text: &str, expect: Option<u64>| {
            let micros = text
                .parse::<Duration>()
                .ok()
                .map(|d| d.get().as_micros() as u64);
            assert_eq!(micros, expect, "{text}");
        };
        check("0s", Some(0));
        check("250us", Some(250));
        check("300ms", Some(300_000));
        check("5s", Some(5_000_000));
        check("2m", Some(120_000_000));
        check("1h", Some(3_600_000_000));
        check("1d", Some(86_400_000_000));
        for wrong in [
            "",
            "5",
            "s",
            "-5s",
            "1.5s",
            "5 s",
            "5S",
            "5s ",
            "1h30m",
            "99999999999999d",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(text.parse::<Bytes>().ok().map(Bytes::get), expect, "{text}");
        };
        check("1500B", Some(1500));
        check("64KiB", Some(65_536));
        check("256MiB", Some(268_435_456));
        check("10GB", Some(10_000_000_000));
        for wrong in ["", "1", "1 MiB", "1mib", "1.5GiB", "-1B", "99999999999TiB"] {
            check(wrong, None);
        }
    }

    #[test]
    fn values_print_in_the_largest_whole_unit() {
        assert_eq!(Duration::from_secs(120).to_string(), "2m");
        assert_eq!(Duration::from_millis(1500).to_string(), "1500ms");
        assert_eq!(Duration::default().to_string(), "0s");
        assert_eq!(Bytes::from_mib(256).to_string(), "256MiB");
        assert_eq!(Bytes::new(0).to_string(), "0B");
    }

    #[test]
    fn an_error_says_what_to_write() {
        let error = serde_json::from_str::<Duration>("\"soon\"")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"soon\" is not a duration such as \"300ms\""),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(micros in any::<u64>()) {
            let value = Duration::from(time::Duration::from_micros(micros));
            prop_assert_eq!(value.to_string().parse::<Duration>(), Ok(value));
        }

        #[test]
        fn a_printed_size_reads_back(bytes in any::<u64>()) {
            let value = Bytes::new(bytes);
            prop_assert_eq!(value.to_string().parse::<Bytes>(), Ok(value));
        }

        #[test]
        fn any_text_is_read_or_refused_briefly(text in "\\PC*") {
            for error in [text.parse::<Duration>().err(), text.parse::<Bytes>().err()] {
                prop_assert!(error.is_none_or(|e| e.to_string().chars().count() < 120));
            }
        }
    }
}
