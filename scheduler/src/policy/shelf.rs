//! The policies in force, what was before them, and the candidates beside them.
//!
//! Readers take one pointer. A change is written to the ledger's file before it holds, so that a
//! scheduler that restarts goes on with it; without a file all is forgotten at the end. The file
//! that the operator edits counts when it differs from when it was last looked at, so a version
//! that was applied over it stays in force over a restart. What is not valid changes nothing.

mod told;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cluster::region::Region;
use cluster::sample::RegionLoad;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use transport::clock::Clock;

use super::canary::{Tally, Trial, draw};
use super::file::{Fault, lines, parse};
use super::ledger::{Action, Entry, Ledger, Signed, hash_of};
use super::meter::Meter;
use super::{Draw, Policies};
use crate::plan::trade::Figures;
use crate::shadow::{self, Comparison};
use crate::snapshot::hash;

pub use told::{Active, Canaried, Shadowed, Watched};

/// All of it.
pub struct Shelf {
    active: watch::Sender<Arc<Policies>>,
    state: Mutex<State>,
    /// What the operator edits.
    file: Option<PathBuf>,
    /// Where the ledger is kept.
    kept: Option<PathBuf>,
    meter: Meter,
    clock: Clock,
}

struct State {
    ledger: Ledger,
    /// The policies in force, the canary aside.
    base: Arc<Policies>,
    shadow: Option<Shadow>,
    canary: Option<Canary>,
    tally: Tally,
    /// What is wrong with the operator's file.
    file_faults: Vec<String>,
}

/// What both kinds of candidate are.
#[derive(Clone)]
struct Candidate {
    policies: Arc<Policies>,
    text: String,
    signed: Signed,
    since_ms: u64,
}

struct Shadow {
    candidate: Candidate,
    until_ms: Option<u64>,
    comparison: Comparison,
}

struct Canary {
    candidate: Candidate,
    draw: Draw,
    trial: Trial,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file is not valid.
    #[error("{}", lines("policies", .0).trim_end())]
    Faults(Vec<Fault>),
    /// Somebody else was faster.
    #[error("version {0} holds meanwhile: look at it, then apply yours again")]
    Stale(u64),
    /// There is nothing to go back to.
    #[error("there is no such version to go back to; `weir policy history` lists them")]
    NoVersion,
    /// That is no share.
    #[error("a canary's share is above 0 and at most 0.5: 0.05 or 5%")]
    Share,
    /// No such candidate.
    #[error("there is none")]
    Nothing,
    /// The ledger cannot be written, so nothing was changed.
    #[error("the policies' history cannot be kept: {0}")]
    Unkept(#[from] std::io::Error),
}

impl Shelf {
    /// The last version in force, or the file where that has changed since; the ledger is kept in
    /// `kept`. Fails on a broken file only where there is nothing else to hold.
    pub fn open(
        file: Option<&Path>,
        kept: Option<PathBuf>,
        clock: Clock,
        metrics: &mut Registry,
    ) -> anyhow::Result<Self> {
        let ledger = kept.as_deref().map(read_ledger).transpose()?;
        let ledger = ledger.unwrap_or_default();
        let base = match ledger.head().map(|head| parse(&head.text)) {
            None => Policies::default(),
            Some(Ok(policies)) => policies,
            Some(Err(faults)) => {
                let faults = lines("kept", &faults);
                tracing::error!(
                    faults,
                    "the last policies cannot be read here, defaults hold"
                );
                Policies::default()
            }
        };
        let base = Arc::new(base);
        let shelf = Self {
            active: watch::Sender::new(base.clone()),
            state: Mutex::new(State {
                ledger,
                base,
                shadow: None,
                canary: None,
                tally: Tally::default(),
                file_faults: Vec::new(),
            }),
            file: file.map(Path::to_path_buf),
            kept,
            meter: Meter::register(metrics),
            clock,
        };
        shelf.reload();
        let state = shelf.state.lock();
        let lost = state.ledger.head().is_none() && !state.file_faults.is_empty();
        anyhow::ensure!(!lost, "{}", state.file_faults.join("\n"));
        shelf
            .meter
            .version
            .set(state.ledger.version().cast_signed());
        drop(state);
        Ok(shelf)
    }

    /// The policies in force, a canary's regions among them.
    pub fn active(&self) -> Arc<Policies> {
        self.active.borrow().clone()
    }

    /// The same, and each change of them.
    pub fn changes(&self) -> watch::Receiver<Arc<Policies>> {
        self.active.subscribe()
    }

    /// The candidate to plan with beside the active policies.
    pub fn candidate(&self) -> Option<Arc<Policies>> {
        let now_ms = self.clock.unix_ms();
        let state = self.state.lock();
        let shadow = state.shadow.as_ref().filter(|it| it.plans(now_ms));
        shadow.map(|shadow| shadow.candidate.policies.clone())
    }

    /// What a slot came to under the active policies and under that candidate.
    pub fn compare(&self, candidate: &Arc<Policies>, active: Figures, theirs: Figures) {
        let mut state = self.state.lock();
        let same = |it: &&mut Shadow| Arc::ptr_eq(&it.candidate.policies, candidate);
        if let Some(shadow) = state.shadow.as_mut().filter(same) {
            shadow.comparison.push(active, theirs);
        }
    }

    /// Looks at the operator's file; a new one holds, or is refused.
    pub(super) fn reload(&self) {
        let Some(file) = &self.file else {
            return;
        };
        let text = std::fs::read_to_string(file);
        let state = &mut *self.state.lock();
        let signed = Signed {
            author: "file".into(),
            comment: file.display().to_string(),
        };
        let (seen, result) = match text {
            Err(error) => {
                let why = format!("{}: cannot be read: {error}", file.display());
                (error.kind().to_string(), Err(vec![why]))
            }
            Ok(text) => {
                let name = file.display().to_string();
                let told = |fault: &Fault| format!("{name}: {fault}");
                let policies = parse(&text).map_err(|faults| faults.iter().map(told).collect());
                (hash_of(&text), policies.map(|policies| (text, policies)))
            }
        };
        if state.ledger.seen_file.as_ref() == Some(&seen) {
            state.file_faults = result.err().unwrap_or_default();
            return;
        }
        let at_ms = self.clock.unix_ms();
        let mut ledger = state.ledger.clone();
        ledger.seen_file = Some(seen.clone());
        match result {
            Ok((text, policies)) => {
                ledger.hold(text, (Action::Reloaded, None), &signed, at_ms);
                state.file_faults.clear();
                self.put(state, ledger, policies);
                self.meter.count(Action::Reloaded);
                tracing::info!(
                    version = state.ledger.version(),
                    hash = seen,
                    "policies loaded"
                );
            }
            Err(why) => {
                let first = why.first().cloned().unwrap_or_default();
                tracing::warn!(
                    faults = why.len(),
                    first,
                    "policy file refused, what held holds"
                );
                ledger.note((Action::Refused, seen), &signed, why.clone(), at_ms);
                state.file_faults = why;
                state.ledger = ledger;
                self.meter.count(Action::Refused);
            }
        }
        if let Err(error) = self.keep(&state.ledger) {
            tracing::error!(%error, "the policies' history is not kept");
        }
    }

    /// Makes a file hold everywhere; ends a canary. `base` is the version that it was made from.
    pub fn apply(&self, text: &str, base: Option<u64>, signed: &Signed) -> Result<u64, Refusal> {
        let policies = self.check(text, signed)?;
        let state = &mut *self.state.lock();
        let version = state.ledger.version();
        if base.is_some_and(|base| base != version) {
            return Err(Refusal::Stale(version));
        }
        self.hold(
            state,
            (text.into(), policies),
            (Action::Applied, None),
            signed,
        )
    }

    /// Goes back to a version, by default to the one before.
    pub fn roll_back(&self, to: Option<u64>, signed: &Signed) -> Result<u64, Refusal> {
        let state = &mut *self.state.lock();
        let to = to.or_else(|| state.ledger.previous());
        let to = to.filter(|to| *to != state.ledger.version());
        let to = to.ok_or(Refusal::NoVersion)?;
        let text = state.ledger.text(to).ok_or(Refusal::NoVersion)?;
        let policies = parse(&text).map_err(Refusal::Faults)?;
        let action = (Action::RolledBack, Some(to));
        self.hold(state, (text, policies), action, signed)
    }

    /// Lets a candidate plan beside the active policies.
    pub fn shadow(
        &self,
        text: &str,
        long: Option<Duration>,
        signed: &Signed,
    ) -> Result<(), Refusal> {
        let candidate = self.candidate_of(text, signed)?;
        let until = |long: Duration| {
            let ms = u64::try_from(long.as_millis()).unwrap_or(u64::MAX);
            candidate.since_ms.saturating_add(ms)
        };
        let until_ms = long.map(until);
        let state = &mut *self.state.lock();
        self.note(state, (Action::Shadowed, hash_of(text)), signed, Vec::new())?;
        state.shadow = Some(Shadow {
            candidate,
            until_ms,
            comparison: Comparison::default(),
        });
        self.meter.shadow.set(1);
        Ok(())
    }

    /// Ends the shadow; what it came to is remembered.
    pub fn end_shadow(&self, signed: &Signed) -> Result<shadow::Report, Refusal> {
        let state = &mut *self.state.lock();
        let shadow = state.shadow.as_ref().ok_or(Refusal::Nothing)?;
        let report = shadow.comparison.report();
        let (hash, why) = (hash_of(&shadow.candidate.text), report.summary.clone());
        self.note(state, (Action::ShadowEnded, hash), signed, vec![why])?;
        state.shadow = None;
        self.meter.shadow.set(0);
        Ok(report)
    }

    /// Lets a candidate hold in a share of the regions, drawn so that it has viewers; ends another.
    pub fn canary(&self, text: &str, share: f64, signed: &Signed) -> Result<(), Refusal> {
        if !(share > 0.0 && share <= MOST_SHARE) {
            return Err(Refusal::Share);
        }
        let candidate = self.candidate_of(text, signed)?;
        let state = &mut *self.state.lock();
        let draw = draw(share, hash(text.as_bytes()), &state.tally.regions());
        let why = vec![format!("share {share}")];
        self.note(state, (Action::CanaryBegun, hash_of(text)), signed, why)?;
        let trial = Trial::new(state.tally.past(|region| draw.has(region)));
        state.canary = Some(Canary {
            candidate,
            draw,
            trial,
        });
        self.publish(state);
        Ok(())
    }

    /// Ends the canary.
    pub fn end_canary(&self, signed: &Signed) -> Result<(), Refusal> {
        let state = &mut *self.state.lock();
        let canary = state.canary.as_ref().ok_or(Refusal::Nothing)?;
        let hash = hash_of(&canary.candidate.text);
        self.note(state, (Action::CanaryEnded, hash), signed, Vec::new())?;
        state.canary = None;
        self.publish(state);
        Ok(())
    }

    /// What nodes and the scheduler counted of regions, for so many seconds.
    pub(super) fn observe<'a>(
        &self,
        loads: impl Iterator<Item = &'a RegionLoad>,
        waiting: impl Iterator<Item = (Region, u32)>,
        seconds: f64,
    ) {
        let tally = &mut self.state.lock().tally;
        loads.for_each(|load| tally.add(load, seconds));
        waiting.for_each(|(region, viewers)| tally.wait(region, viewers, seconds));
    }

    /// Ends a window of observation, and a canary that does harm.
    pub(super) fn judge(&self) {
        let state = &mut *self.state.lock();
        let Some(canary) = &mut state.canary else {
            state.tally.close(|_| false);
            return;
        };
        let draw = canary.draw;
        let window = state.tally.close(|region| draw.has(region));
        let Some(harm) = canary.trial.push(&window) else {
            return;
        };
        let (hash, why) = (hash_of(&canary.candidate.text), harm.words());
        tracing::warn!(hash, why, "canary rolled back");
        state.canary = None;
        // Viewers come first: it ends even when that cannot be written down.
        self.publish(state);
        let signed = Signed {
            author: "weir".into(),
            comment: "rolled back by itself".into(),
        };
        if let Err(error) = self.note(state, (Action::CanaryFailed, hash), &signed, vec![why]) {
            tracing::error!(%error, "a failed canary is not remembered");
        }
    }

    /// What the operator edits.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What was done, newest first.
    pub fn history(&self) -> Vec<Entry> {
        self.state.lock().ledger.entries().cloned().collect()
    }

    /// A version's file, as long as it is kept.
    pub fn text(&self, version: u64) -> Option<String> {
        self.state.lock().ledger.text(version)
    }

    /// The policies in force, a canary aside.
    pub fn base(&self) -> Arc<Policies> {
        self.state.lock().base.clone()
    }

    fn candidate_of(&self, text: &str, signed: &Signed) -> Result<Candidate, Refusal> {
        Ok(Candidate {
            policies: Arc::new(self.check(text, signed)?),
            text: text.to_owned(),
            signed: signed.clone(),
            since_ms: self.clock.unix_ms(),
        })
    }

    /// The policies of a file; a refusal is counted and remembered.
    fn check(&self, text: &str, signed: &Signed) -> Result<Policies, Refusal> {
        parse(text).map_err(|faults| {
            let why = faults.iter().map(ToString::to_string).collect();
            let state = &mut *self.state.lock();
            let _ = self.note(state, (Action::Refused, hash_of(text)), signed, why);
            Refusal::Faults(faults)
        })
    }

    fn hold(
        &self,
        state: &mut State,
        (text, policies): (String, Policies),
        action: (Action, Option<u64>),
        signed: &Signed,
    ) -> Result<u64, Refusal> {
        let mut ledger = state.ledger.clone();
        let at_ms = self.clock.unix_ms();
        if let Some(canary) = &state.canary {
            let hash = hash_of(&canary.candidate.text);
            ledger.note((Action::CanaryEnded, hash), signed, Vec::new(), at_ms);
        }
        ledger.hold(text, action, signed, at_ms);
        self.keep(&ledger)?;
        self.put(state, ledger, policies);
        self.meter.count(action.0);
        let version = state.ledger.version();
        tracing::info!(
            version,
            action = action.0.as_str(),
            author = signed.author,
            "policies"
        );
        Ok(version)
    }

    fn note(
        &self,
        state: &mut State,
        what: (Action, String),
        signed: &Signed,
        why: Vec<String>,
    ) -> Result<(), Refusal> {
        let mut ledger = state.ledger.clone();
        let action = what.0;
        ledger.note(what, signed, why, self.clock.unix_ms());
        self.keep(&ledger)?;
        state.ledger = ledger;
        self.meter.count(action);
        Ok(())
    }

    fn put(&self, state: &mut State, ledger: Ledger, policies: Policies) {
        (state.ledger, state.base, state.canary) = (ledger, Arc::new(policies), None);
        self.meter.version.set(state.ledger.version().cast_signed());
        self.publish(state);
    }

    fn publish(&self, state: &State) {
        let active = match &state.canary {
            Some(canary) => Arc::new(
                state
                    .base
                    .with_canary(&canary.candidate.policies, canary.draw),
            ),
            None => state.base.clone(),
        };
        self.active.send_replace(active);
        let share = state
            .canary
            .as_ref()
            .map_or(0.0, |canary| canary.draw.share);
        self.meter.canary_share.set(share);
    }

    /// Replaces the ledger's file by one that is whole.
    fn keep(&self, ledger: &Ledger) -> std::io::Result<()> {
        let Some(file) = &self.kept else {
            return Ok(());
        };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let new = file.with_extension("new");
        let mut to = std::fs::File::create(&new)?;
        to.write_all(&serde_json::to_vec(ledger)?)?;
        to.sync_all()?;
        std::fs::rename(&new, file)
    }
}

impl Shadow {
    fn plans(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until_ms| now_ms < until_ms)
    }
}

/// More than half is no canary.
const MOST_SHARE: f64 = 0.5;

fn read_ledger(file: &Path) -> anyhow::Result<Ledger> {
    let text = match std::fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ledger::default()),
        text => text.with_context(|| format!("cannot read {}", file.display()))?,
    };
    serde_json::from_slice(&text).with_context(|| {
        let name = file.display();
        format!("{name} is no history of policies: move it away, then apply the policies anew")
    })
}

#[cfg(test)]
mod tests;
