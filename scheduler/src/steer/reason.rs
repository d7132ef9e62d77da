//! Sans-IO: why an edge does not get a viewer.

use serde::{Deserialize, Serialize};

use crate::policy::Bar;

/// Why an edge lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It has been silent for too long, or left.
    Down,
    /// It is being drained.
    Draining,
    /// The viewer asked not to be sent there.
    Excluded,
    /// An external pathway that does not have what is asked for.
    NotOffered,
    /// The policy names it as one to avoid.
    Denied,
    /// The policy names others, and not it.
    NotAllowed,
    /// It is in none of the policy's countries.
    Residency,
    /// It costs more than the policy allows.
    TooDear,
    /// All that the policy selects uses as much as it may.
    Capped,
    /// It serves nearly as many viewers as it may.
    ViewersFull,
    /// It sends nearly as much as it may.
    EgressFull,
    /// It carries more than it may, and this player is of the share that moves away.
    Overloaded,
    /// Usable, but beyond the policy's slack behind the nearest one.
    Farther,
    /// Usable and near, but others cost less.
    Dearer,
    /// In the lottery, and another one was drawn.
    NotDrawn,
    /// Drawn, but sent more than its share already.
    AheadOfShare,
    /// Usable, but the viewer stays where it was sent before.
    KeptElsewhere,
    /// Usable, but the player stays where it plays.
    PlayedElsewhere,
}

impl Reason {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down: silent or gone",
            Self::Draining => "draining: takes no new viewers",
            Self::Excluded => "excluded by the viewer",
            Self::NotOffered => "external, and without this format",
            Self::Denied => "denied by the policy",
            Self::NotAllowed => "not among the edges that the policy allows",
            Self::Residency => "not in a country that the policy allows",
            Self::TooDear => "dearer than the policy allows",
            Self::Capped => "the policy's cap on viewers or egress is reached",
            Self::ViewersFull => "full: viewers at the limit",
            Self::EgressFull => "full: egress at the limit",
            Self::Overloaded => "overloaded: some of its viewers move away",
            Self::Farther => "farther than the policy's slack",
            Self::Dearer => "usable, but others cost less",
            Self::NotDrawn => "in the lottery, another was drawn",
            Self::AheadOfShare => "drawn, but ahead of its share",
            Self::KeptElsewhere => "usable, but the viewer stays where it was",
            Self::PlayedElsewhere => "usable, but the player stays where it plays",
        }
    }
}

impl From<Bar> for Reason {
    fn from(bar: Bar) -> Self {
        match bar {
            Bar::NotAllowed => Self::NotAllowed,
            Bar::Denied => Self::Denied,
            Bar::Residency => Self::Residency,
            Bar::Price => Self::TooDear,
        }
    }
}
