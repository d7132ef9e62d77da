//! Sans-IO: regions, by which demand is counted.
//!
//! A region is where a viewer is, as a country, a state of a large one, or a zone of the operator's
//! own file. It is short and of plain letters, because it rides in tokens and stands in metrics,
//! histories and addresses as it is: `DE`, `US-CA`, `cmcc-shanghai`.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A region's name: 1 to [`MAX_REGION`] of `A-Z a-z 0-9 _ -`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region([u8; MAX_REGION]);

/// Longest name: room for what operators call a network, while a token grows by 32 bytes at most.
pub const MAX_REGION: usize = 16;

/// Regions told apart in one sample or one exposition of metrics: every country, or 200 of the
/// 200 to 1,000 that a large cluster has; the rest are summed up as [`Region::OTHER`].
pub const MAX_REGIONS: usize = 256;

impl Region {
    /// Of viewers without a token, or from an address that nothing is known of.
    pub const UNKNOWN: Self = Self::of(b"unknown");
    /// Of all that would be one region too many.
    pub const OTHER: Self = Self::of(b"other");

    /// The region, if the text can name one.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let valid = (1..=MAX_REGION).contains(&text.len()) && text.bytes().all(plain);
        valid.then(|| Self::of(text.as_bytes()))
    }

    /// A region of whatever people call it, in small letters; of names that have nothing plain in
    /// them, a number.
    pub fn named(name: &str) -> Self {
        let mut plain = String::new();
        for letter in name.chars() {
            match letter {
                letter if letter.is_ascii_alphanumeric() => plain.push(letter.to_ascii_lowercase()),
                _ if plain.is_empty() || plain.ends_with('-') => {}
                _ => plain.push('-'),
            }
        }
        plain.truncate(MAX_REGION);
        Self::parse(plain.trim_end_matches('-')).unwrap_or_else(|| Self::numbered(name))
    }

    /// The region as text.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0);
        std::str::from_utf8(&self.0[..length.unwrap_or(MAX_REGION)]).unwrap_or_default()
    }

    const fn of(text: &[u8]) -> Self {
        let mut bytes = [0; MAX_REGION];
        let mut at = 0;
        while at < text.len() {
            bytes[at] = text[at];
            at += 1;
        }
        Self(bytes)
    }

    /// FNV-1a of 32 bits, the same everywhere.
    fn numbered(name: &str) -> Self {
        if name.is_empty() {
            return Self::UNKNOWN;
        }
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Self::of(format!("zone-{hash:08x}").as_bytes())
    }
}

impl Default for Region {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not a region"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_short_and_plain() {
        for (text, valid) in [
            ("DE", true),
            ("US-CA", true),
            ("cmcc_shanghai", true),
            ("0123456789abcdef", true),
            ("0123456789abcdefg", false),
            ("", false),
            ("a/b", false),
            ("a b", false),
            ("é", false),
            ("a\0", false),
        ] {
            let region = Region::parse(text);
            assert_eq!(region.is_some(), valid, "{text:?}");
            assert!(region.is_none_or(|region| region.as_str() == text));
        }
    }

    #[test]
    fn any_name_makes_a_region() {
        for (name, region) in [
            ("Frankfurt", "frankfurt"),
            ("China Mobile, Shanghai", "china-mobile-sha"),
            ("  New   York ", "new-york"),
            ("São Paulo", "s-o-paulo"),
            ("a-very-long-one-indeed", "a-very-long-one"),
            ("", "unknown"),
        ] {
            assert_eq!(Region::named(name).as_str(), region, "{name:?}");
        }
        let (one, other) = (Region::named("上海"), Region::named("北京"));
        assert!(one != other && one.as_str().starts_with("zone-"), "{one}");
    }

    #[test]
    fn regions_survive_json() {
        let regions = [Region::UNKNOWN, Region::named("Frankfurt")];
        let json = serde_json::to_string(&regions).unwrap();
        assert_eq!(json, r#"["unknown","frankfurt"]"#);
        assert_eq!(serde_json::from_str::<[Region; 2]>(&json).unwrap(), regions);
        assert!(serde_json::from_str::<Region>("\"a/b\"").is_err());
    }
}
