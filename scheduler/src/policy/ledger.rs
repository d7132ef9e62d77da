//! Sans-IO: which policies held when: versions with their texts, and what became of each attempt.
//!
//! Version 0 is the default without a file. A version that goes back to another one remembers
//! which, so that going back twice goes back two steps and not to where one came from.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::file::VERSION;
use crate::snapshot::{hash, mix};

/// What was done and with which result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// What.
    pub action: Action,
    /// The version that holds from then on.
    pub version: u64,
    /// The file that it is about.
    pub hash: String,
    /// Who did it, as they said.
    pub author: String,
    /// Why, as they said.
    pub comment: String,
    /// What was wrong, or what came of it.
    pub why: Vec<String>,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An operator applied a file.
    Applied,
    /// The file on disk changed, and holds.
    Reloaded,
    /// A file was not valid; what held holds on.
    Refused,
    /// An operator went back.
    RolledBack,
    /// A candidate plans beside the active policies.
    Shadowed,
    /// It does no longer.
    ShadowEnded,
    /// A candidate holds in some regions.
    CanaryBegun,
    /// An operator ended it.
    CanaryEnded,
    /// It harmed viewers, and ended by itself.
    CanaryFailed,
}

impl Action {
    /// The action as it stands in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Reloaded => "reloaded",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
            Self::Shadowed => "shadowed",
            Self::ShadowEnded => "shadow_ended",
            Self::CanaryBegun => "canary_begun",
            Self::CanaryEnded => "canary_ended",
            Self::CanaryFailed => "canary_failed",
        }
    }
}

/// A file that held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Counts up from 1.
    pub version: u64,
    /// Tells its text from others.
    pub hash: String,
    /// When it began to hold, Unix milliseconds.
    pub since_ms: u64,
    /// Who put it there.
    pub author: String,
    /// Why.
    pub comment: String,
    /// The version that it goes back to, if it does.
    pub restores: Option<u64>,
    /// The file.
    pub text: String,
}

/// All of it, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    versions: VecDeque<Version>,
    /// The file on disk as it was last looked at.
    pub(super) seen_file: Option<String>,
}

/// Who did what and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signed {
    /// A name.
    #[serde(default)]
    pub author: String,
    /// A reason.
    #[serde(default)]
    pub comment: String,
}

/// Entries kept: some years of an operator's changes.
const MAX_ENTRIES: usize = 500;

/// Versions kept; with usual files of some kilobytes, and 25 MB at their bound.
pub const MAX_VERSIONS: usize = 50;

/// Longest name or reason, in letters.
const MAX_WORDS: usize = 200;

/// The file of version 0.
pub fn nothing() -> String {
    format!("version = {VERSION}\n")
}

/// Tells texts apart.
pub fn hash_of(text: &str) -> String {
    format!("{:016x}", mix(hash(text.as_bytes())))
}

impl Ledger {
    /// The version that holds; none is version 0.
    pub fn head(&self) -> Option<&Version> {
        self.versions.back()
    }

    /// Its number.
    pub fn version(&self) -> u64 {
        self.head().map_or(0, |head| head.version)
    }

    /// The text of a version, as long as it is kept.
    pub fn text(&self, version: u64) -> Option<String> {
        let kept = self.versions.iter().find(|it| it.version == version);
        let text = kept.map(|it| it.text.clone());
        text.or_else(|| (version == 0).then(nothing))
    }

    /// A version that is kept.
    pub fn find(&self, version: u64) -> Option<&Version> {
        self.versions.iter().find(|it| it.version == version)
    }

    /// The version before the one that holds, steps back counted as what they went back to.
    pub fn previous(&self) -> Option<u64> {
        let head = self.head()?;
        let mut of = head;
        // Each step leads to an older version.
        while let Some(older) = of.restores {
            if older == 0 {
                return None;
            }
            of = self.find(older)?;
        }
        let mut before = self
            .versions
            .iter()
            .rev()
            .filter(|it| it.version < of.version);
        let older = before.next().map(|it| it.version);
        older.or((of.version == 1).then_some(0))
    }

    /// What was done, newest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    /// A new version holds.
    pub fn hold(
        &mut self,
        text: String,
        (action, restores): (Action, Option<u64>),
        signed: &Signed,
        at_ms: u64,
    ) {
        let version = Version {
            version: self.version() + 1,
            hash: hash_of(&text),
            since_ms: at_ms,
            author: shortened(&signed.author),
            comment: shortened(&signed.comment),
            restores,
            text,
        };
        let hash = version.hash.clone();
        self.versions.push_back(version);
        if self.versions.len() > MAX_VERSIONS {
            self.versions.pop_front();
        }
        let why = restores.map(|version| format!("version {version} again"));
        self.note((action, hash), signed, why.into_iter().collect(), at_ms);
    }

    /// Something was done that leaves the version as it is.
    pub fn note(
        &mut self,
        (action, hash): (Action, String),
        signed: &Signed,
        why: Vec<String>,
        at_ms: u64,
    ) {
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            at_ms,
            action,
            version: self.version(),
            hash,
            author: shortened(&signed.author),
            comment: shortened(&signed.comment),
            why,
        });
    }
}

fn shortened(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file::EXAMPLE;
    use super::*;

    fn apply(ledger: &mut Ledger, text: &str) {
        ledger.hold(text.into(), (Action::Applied, None), &Signed::default(), 1);
    }

    fn back(ledger: &mut Ledger) -> Option<u64> {
        let to = ledger.previous()?;
        let text = ledger.text(to)?;
        let how = (Action::RolledBack, Some(to));
        ledger.hold(text, how, &Signed::default(), 2);
        Some(to)
    }

    #[test]
    fn going_back_twice_goes_back_two_steps() {
        let mut ledger = Ledger::default();
        assert_eq!((ledger.version(), ledger.previous()), (0, None));
        apply(&mut ledger, "a");
        apply(&mut ledger, "b");
        apply(&mut ledger, "c");
        assert_eq!(back(&mut ledger), Some(2));
        assert_eq!(back(&mut ledger), Some(1));
        assert_eq!(ledger.head().unwrap().text, "a");
        assert_eq!(back(&mut ledger), Some(0));
        assert_eq!(ledger.head().unwrap().text, nothing());
        assert_eq!((ledger.previous(), ledger.version()), (None, 6));
        apply(&mut ledger, "d");
        assert_eq!(back(&mut ledger), Some(6));
        assert_eq!(ledger.previous(), None);
        assert_eq!(ledger.entries().count(), 8);
        let newest = ledger.entries().next().unwrap();
        assert_eq!((newest.version, &*newest.why[0]), (8, "version 6 again"));
    }

    #[test]
    fn versions_and_entries_are_bounded_and_kept() {
        let mut ledger = Ledger::default();
        (0..2 * MAX_ENTRIES).for_each(|n| apply(&mut ledger, &n.to_string()));
        assert_eq!(ledger.entries().count(), MAX_ENTRIES);
        assert_eq!(ledger.versions.len(), MAX_VERSIONS);
        assert_eq!(
            (ledger.version(), ledger.text(1)),
            (2 * MAX_ENTRIES as u64, None)
        );
        let json = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&json).unwrap(), ledger);
        assert_ne!(hash_of(EXAMPLE), hash_of(&nothing()));
    }

    #[test]
    fn words_are_short_and_stay_in_their_line() {
        assert_eq!(shortened("a\nb"), "a b");
        assert_eq!(shortened(&"é".repeat(500)).chars().count(), MAX_WORDS);
    }
}
