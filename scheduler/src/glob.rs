//! Sans-IO: patterns of names: `*` stands for any run of letters, `?` for one.

use std::fmt;

use serde::{Serialize, Serializer};

/// A pattern that names of nodes, streams, regions and labels are held against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(Box<str>);

/// Longest pattern: two names of 64 and what joins them, with room for stars.
pub const MAX_GLOB: usize = 160;

impl Glob {
    /// The pattern, when it is 1 to [`MAX_GLOB`] of visible ASCII.
    pub fn parse(text: &str) -> Option<Self> {
        let visible = |byte: u8| byte.is_ascii_graphic();
        let valid = (1..=MAX_GLOB).contains(&text.len()) && text.bytes().all(visible);
        valid.then(|| Self(text.into()))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can match one name only.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// Whether the name is one of those meant. Takes at most the product of both lengths.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut next) = (0, 0);
        // Behind the last star, and how much of the name it has swallowed.
        let mut star: Option<(usize, usize)> = None;
        while at < name.len() {
            match pattern.get(next) {
                Some(b'*') => {
                    star = Some((next + 1, at));
                    next += 1;
                }
                Some(&letter) if letter == b'?' || letter == name[at] => {
                    (at, next) = (at + 1, next + 1);
                }
                _ => match &mut star {
                    Some((behind, swallowed)) => {
                        *swallowed += 1;
                        (at, next) = (*swallowed, *behind);
                    }
                    None => return false,
                },
            }
        }
        pattern[next..].iter().all(|letter| *letter == b'*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Glob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_runs_and_question_marks_for_letters() {
        for (pattern, name, matches) in [
            ("edge-1", "edge-1", true),
            ("edge-1", "edge-12", false),
            ("edge-*", "edge-", true),
            ("edge-*", "edge-fra-1", true),
            ("edge-*", "hub-fra-1", false),
            ("*-fra-*", "edge-fra-1", true),
            ("*-fra-*", "edge-par-1", false),
            ("*", "", true),
            ("?", "", false),
            ("edge-?", "edge-1", true),
            ("edge-?", "edge-12", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("live/*", "live/show", true),
            ("live/vip_*", "live/vop_x", false),
            ("**", "x", true),
        ] {
            let glob = Glob::parse(pattern).unwrap();
            assert_eq!(glob.matches(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_are_short_and_visible() {
        let long = "x".repeat(MAX_GLOB + 1);
        for (text, valid) in [
            ("", false),
            ("a b", false),
            ("é", false),
            (&*long, false),
            (&long[1..], true),
        ] {
            assert_eq!(Glob::parse(text).is_some(), valid, "{text}");
        }
    }
}
