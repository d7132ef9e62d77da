//! What is told of the policies in force and of their candidates.

use std::path::PathBuf;

use cluster::region::Region;
use serde::{Deserialize, Serialize};

use super::{Canary, Shadow, Shelf};
use crate::policy::canary::{self, Tally};
use crate::policy::ledger::{Signed, Version, hash_of};
use crate::shadow;

/// The policies in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// The version; absent of the default without a file.
    pub version: Option<Version>,
    /// The operator's file.
    pub file: Option<Watched>,
    /// The candidate that plans beside them.
    pub shadow: Option<Shadowed>,
    /// The candidate that holds in some regions.
    pub canary: Option<Canaried>,
}

/// The operator's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is what holds.
    pub holds: bool,
    /// What is wrong with it.
    pub faults: Vec<String>,
}

/// A candidate in shadow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadowed {
    /// Tells its file from others.
    pub hash: String,
    /// The file.
    pub text: String,
    /// Who and why.
    #[serde(flatten)]
    pub signed: Signed,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Until when, if it ends by itself; then the report stays.
    pub until_ms: Option<u64>,
    /// Whether it plans now.
    pub planning: bool,
    /// What it comes to.
    pub report: shadow::Report,
}

/// A candidate that holds in some regions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canaried {
    /// Tells its file from others.
    pub hash: String,
    /// The file.
    pub text: String,
    /// Who and why.
    #[serde(flatten)]
    pub signed: Signed,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Share of the regions.
    pub share: f64,
    /// Those of them that have viewers.
    pub regions: Vec<Region>,
    /// How their viewers fare.
    pub report: canary::Report,
}

impl Shelf {
    /// What holds, with its candidates.
    pub fn status(&self) -> Active {
        let now_ms = self.clock.unix_ms();
        let state = self.state.lock();
        let head = state.ledger.head();
        let holds = head.map(|head| &head.hash) == state.ledger.seen_file.as_ref();
        Active {
            version: head.cloned(),
            file: self.file.as_ref().map(|path| Watched {
                path: path.clone(),
                holds: holds && state.file_faults.is_empty(),
                faults: state.file_faults.clone(),
            }),
            shadow: state.shadow.as_ref().map(|shadow| shadow.status(now_ms)),
            canary: state.canary.as_ref().map(|it| it.status(&state.tally)),
        }
    }
}

impl Shadow {
    fn status(&self, now_ms: u64) -> Shadowed {
        let of = &self.candidate;
        Shadowed {
            hash: hash_of(&of.text),
            text: of.text.clone(),
            signed: of.signed.clone(),
            since_ms: of.since_ms,
            until_ms: self.until_ms,
            planning: self.plans(now_ms),
            report: self.comparison.report(),
        }
    }
}

impl Canary {
    fn status(&self, tally: &Tally) -> Canaried {
        let of = &self.candidate;
        let regions = tally.regions().into_iter().map(|(region, _)| region);
        Canaried {
            hash: hash_of(&of.text),
            text: of.text.clone(),
            signed: of.signed.clone(),
            since_ms: of.since_ms,
            share: self.draw.share,
            regions: regions.filter(|region| self.draw.has(*region)).collect(),
            report: self.trial.report(),
        }
    }
}
