//! Sans-IO: who decides: the production planner, and the rules that it is compared with.
//!
//! All see demand one slot late. What each does stands in its file and in docs/simulations.md.

pub mod nearest;
pub mod weir;

use std::fmt;
use std::str::FromStr;

/// The rules that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Each region goes to the edge that is nearest on the map.
    B0,
    /// Nearest by round-trip time, on to the next when 85 % full.
    B1,
    /// Cheapest within the slack, on to the next when 85 % full.
    B8,
    /// The production planner.
    Weir,
}

impl Kind {
    /// All, in the order of reports.
    pub const ALL: [Self; 4] = [Self::B0, Self::B1, Self::B8, Self::Weir];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::B0 => "B0",
            Self::B1 => "B1",
            Self::B8 => "B8",
            Self::Weir => "weir",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
            format!("no rule {text:?}: there are {}", all.join(", "))
        })
    }
}
