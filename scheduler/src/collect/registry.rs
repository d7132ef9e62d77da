//! Sans-IO: what is known of every node and stream, from samples, silence and operators' orders.
//!
//! A node is down when it says that it leaves or has been silent for [`SILENCE_MS`]; ten minutes
//! later it is forgotten. A stream ends when its living origin no longer lists it; when the origin
//! itself is gone or was restarted, the stream stays for half a minute, so that its publisher can
//! come back to it. Times are the caller's monotonic milliseconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cluster::node::{NodeId, Role};
use cluster::plan::{Health, Kick, Plan};
use cluster::sample::{MAX_BATCH, Sample, State};
use cluster::stream::{StreamKey, StreamRecord};

use crate::market::Market;
use crate::paths::Ways;
use crate::pathway::Pathway;
use crate::pathway::crowd::Crowd;
use crate::plan::cost;
use crate::plan::relay::Routes;
use crate::plan::{moves, plan};
use crate::policy::{Policies, Subject};
use crate::snapshot::{Labels, Ladders, NodeView, Reaches, Sent, Snapshot};
use crate::usage::Ledger;

/// All that a scheduler knows.
#[derive(Default)]
pub struct Registry {
    nodes: BTreeMap<NodeId, NodeView>,
    /// Who is at external pathways, of which there are no samples.
    crowds: BTreeMap<NodeId, Crowd>,
    streams: Arc<HashMap<StreamKey, Arc<StreamRecord>>>,
    /// Streams whose origin is gone, and since when.
    orphans: HashMap<StreamKey, u64>,
    drains: BTreeSet<NodeId>,
    kicks: BTreeMap<StreamKey, u64>,
    ladders: Arc<Ladders>,
    routes: Routes,
    reaches: Reaches,
    plan: Arc<Plan>,
    labels: Arc<Labels>,
    policies: Arc<Policies>,
    market: Arc<Market>,
    ledger: Ledger,
    last_number: u16,
    ticked_ms: u64,
    changed: bool,
}

/// Why samples were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The report names another node than its certificate.
    #[error("a sample names another node than the certificate")]
    Identity,
    /// None or too many samples.
    #[error("a report carries 1 to {MAX_BATCH} samples")]
    Batch,
    /// It has the name of an external pathway.
    #[error("a [[pathway]] has the node's name")]
    Pathway,
    /// A public address that no viewer may be sent to.
    #[error("public_url must be http:// or https:// and a host, without path or query")]
    PublicUrl,
    /// The scheduler knows enough nodes already.
    #[error("more than {MAX_NODES} nodes")]
    TooManyNodes,
}

impl Refused {
    /// The reason's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Batch => "batch",
            Self::Pathway => "pathway",
            Self::PublicUrl => "public_url",
            Self::TooManyNodes => "too_many_nodes",
        }
    }
}

impl Registry {
    /// An empty registry that goes on after `plan`, with the orders kept in the store.
    pub fn new(plan: Plan, drains: BTreeSet<NodeId>, kicks: Vec<Kick>) -> Self {
        let kicks = kicks
            .into_iter()
            .map(|kick| (kick.key, kick.until_ms))
            .collect();
        Self {
            plan: Arc::new(plan),
            drains,
            kicks,
            changed: true,
            ..Self::default()
        }
    }

    /// Takes the samples of the node that its certificate names `peer`; the newest counts. Gives
    /// all of them back as they are kept: bounded, oldest first.
    pub fn take(
        &mut self,
        now: u64,
        peer: &str,
        mut samples: Vec<Sample>,
    ) -> Result<Vec<Arc<Sample>>, Refused> {
        let count = samples.len();
        if samples.iter().any(|sample| sample.node.id.as_str() != peer) {
            return Err(Refused::Identity);
        }
        if self.crowds.contains_key(peer) {
            return Err(Refused::Pathway);
        }
        let newest = samples.pop().filter(|_| count <= MAX_BATCH);
        let mut newest = newest.ok_or(Refused::Batch)?;
        // The node has done so; what is kept here is bounded whatever it did.
        newest.trim();
        samples.iter_mut().for_each(Sample::trim);
        if newest.node.role == Role::Edge && !is_public_url(&newest.node.public_url) {
            return Err(Refused::PublicUrl);
        }
        let number = self.number(&newest.node.id).ok_or(Refused::TooManyNodes)?;
        let listed = std::mem::take(&mut newest.streams);
        let newest = Arc::new(newest);
        let restarted = self.see(now, number, newest.clone());
        self.list(now, peer, listed, restarted);
        Ok(samples.into_iter().map(Arc::new).chain([newest]).collect())
    }

    /// Notices silence and ends what has lasted long enough.
    pub fn tick(&mut self, now: u64) {
        // A scheduler that was itself suspended has no right to call others silent.
        let gap = now.saturating_sub(self.ticked_ms);
        let slept = if gap > STALL_MS { gap } else { 0 };
        self.ticked_ms = now;
        self.estimate(now);
        for view in self.nodes.values_mut() {
            view.seen_ms += if view.health == Health::Down {
                0
            } else {
                slept.min(now - view.seen_ms)
            };
        }
        let known = self.nodes.len();
        let kept =
            |view: &NodeView| view.pathway.is_some() || now - view.seen_ms < SILENCE_MS + FORGET_MS;
        self.nodes.retain(|_, view| kept(view));
        self.changed |= self.nodes.len() != known;
        self.judge(now);
        self.end_orphans(now);
    }

    /// Whether anything that the plan tells has changed since it was made.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// A view of everything, with a plan that is new only if its content is.
    pub fn snapshot(&mut self, unix_ms: u64) -> Snapshot {
        let running = self.kicks.len();
        self.kicks.retain(|_, until| unix_ms < *until);
        if std::mem::take(&mut self.changed) || self.kicks.len() != running {
            let streams = self.streams.values().map(AsRef::as_ref);
            let kick = |(key, until): (&StreamKey, &u64)| Kick {
                key: key.clone(),
                until_ms: *until,
            };
            let kicks = self.kicks.iter().map(kick);
            if let Some(next) = plan(
                &self.plan,
                self.nodes.values().filter(|view| view.pathway.is_none()),
                streams,
                kicks,
                (&self.ladders, &self.routes),
            ) {
                self.plan = Arc::new(next);
            }
        }
        let view = |view: &NodeView| NodeView {
            settled: self.ticked_ms.saturating_sub(view.health_since_ms) >= SETTLE_MS,
            ..view.clone()
        };
        let mut snapshot = Snapshot {
            nodes: self.nodes.values().map(view).collect(),
            streams: self.streams.clone(),
            ladders: self.ladders.clone(),
            labels: self.labels.clone(),
            plan: self.plan.clone(),
            policies: self.policies.clone(),
            reaches: self.reaches.clone(),
            ..Snapshot::default()
        };
        snapshot.follow(&self.market, unix_ms);
        self.reaches = snapshot.reaches.clone();
        snapshot.usage = self.ledger.tally(&snapshot, self.ticked_ms);
        snapshot
    }

    /// Tells nodes other routes.
    pub fn route(&mut self, routes: Routes) {
        self.routes = routes;
        self.changed = true;
    }

    /// Sends viewers to these external pathways, too.
    pub fn link(&mut self, now: u64, pathways: Vec<Pathway>) -> Result<(), Refused> {
        for pathway in pathways {
            let (id, crowd) = (pathway.id().clone(), pathway.crowd());
            let number = self.number(&id).ok_or(Refused::TooManyNodes)?;
            let mut view = NodeView::external(number, pathway);
            (view.seen_ms, view.health_since_ms) = (now, now);
            self.crowds.insert(id.clone(), crowd);
            self.nodes.insert(id, view);
        }
        self.judge(now);
        self.changed = true;
        Ok(())
    }

    /// What external pathways would report, to be asked for each second.
    pub fn report(&mut self, unix_ms: u64) -> Vec<Arc<Sample>> {
        let mut samples = Vec::with_capacity(self.crowds.len());
        for (id, crowd) in &mut self.crowds {
            if let Some(view) = self.nodes.get_mut(id) {
                let node = view.node().clone();
                view.sample = Arc::new(crowd.sample(node, unix_ms));
                samples.push(view.sample.clone());
            }
        }
        samples
    }

    /// Sends nobody to an external pathway that does not answer, until it does.
    pub fn probed(&mut self, now: u64, id: &NodeId, answers: bool) {
        if let Some(crowd) = self.crowds.get_mut(id) {
            crowd.answers = answers;
        }
        self.estimate(now);
        self.judge(now);
    }

    /// Goes on with who is at external pathways, which are silent only when a probe says so.
    fn estimate(&mut self, now: u64) {
        for (id, crowd) in &mut self.crowds {
            let Some(view) = self.nodes.get_mut(id) else {
                continue;
            };
            if let Some(pathway) = &view.pathway {
                crowd.advance(now, pathway.arrivals());
            }
            view.viewers = crowd.viewers().round() as u32;
            view.egress_bps = crowd.egress_bps().round() as u64;
            view.counted = crowd.counted;
            if crowd.answers {
                view.seen_ms = now;
            }
        }
    }

    /// Steers by another market.
    pub fn trade(&mut self, market: Arc<Market>) {
        self.market = market;
        self.changed = true;
    }

    /// Steers and plans by other policies.
    pub fn obey(&mut self, policies: Arc<Policies>) {
        self.policies = policies;
        self.changed = true;
    }

    /// Takes other rungs and labels for all streams.
    pub fn climb(&mut self, ladders: Ladders, labels: Labels) {
        (self.ladders, self.labels) = (Arc::new(ladders), Arc::new(labels));
        self.changed = true;
    }

    /// Stops sending viewers to a node, whether it is known yet or not.
    pub fn drain(&mut self, now: u64, node: NodeId) {
        self.drains.insert(node);
        self.judge(now);
    }

    /// Ends a drain; false when there was none.
    pub fn undrain(&mut self, now: u64, node: &NodeId) -> bool {
        let drained = self.drains.remove(node);
        self.judge(now);
        drained
    }

    /// Refuses a stream's publisher until the given Unix time.
    pub fn kick(&mut self, kick: Kick) {
        self.kicks.insert(kick.key, kick.until_ms);
        self.changed = true;
    }

    /// The number of a known node, or a free one.
    fn number(&mut self, id: &NodeId) -> Option<u16> {
        if let Some(view) = self.nodes.get(id) {
            return Some(view.number);
        }
        if self.nodes.len() >= MAX_NODES {
            return None;
        }
        let taken: BTreeSet<u16> = self.nodes.values().map(|view| view.number).collect();
        let mut number = self.last_number;
        loop {
            number = number.wrapping_add(1).max(1);
            if !taken.contains(&number) {
                self.last_number = number;
                return Some(number);
            }
        }
    }

    /// Keeps the node's sample; true when it comes from a new process.
    fn see(&mut self, now: u64, number: u16, sample: Arc<Sample>) -> bool {
        let before = self.nodes.get(&sample.node.id);
        let restarted = before.is_some_and(|view| sample.seq < view.sample.seq);
        self.changed |= before.is_none_or(|view| *view.node() != sample.node);
        let sent = before
            .map(|view| view.sent.clone())
            .unwrap_or_else(|| Arc::new(Sent::default()));
        let health = before.map_or(Health::Down, |view| view.health);
        let since_ms = before.map_or(now, |view| view.health_since_ms);
        let heard = before.map(|view| view.heard.clone()).unwrap_or_default();
        let shedding = before.map(|view| view.shedding).unwrap_or_default();
        let mut ways = before.map(|view| view.ways.clone()).unwrap_or_default();
        if Ways::is_news(&sample.regions) {
            Arc::make_mut(&mut ways).hear(now, &sample.regions);
        }
        let mut links = before.map(|view| view.links.clone()).unwrap_or_default();
        Arc::make_mut(&mut links).hear(now, &sample.parents);
        let id = sample.node.id.clone();
        let mut view = NodeView::new(number, sample, sent);
        view.seen_ms = now;
        (view.heard, view.ways, view.links) = (heard, ways, links);
        let load = view.load();
        let worst = if load.unlimited { 0.0 } else { load.worst() };
        view.shedding = shedding.next(now, worst, self.full_at());
        (view.health, view.health_since_ms) = (health, since_ms);
        let judged = judged(&view, &self.drains, now);
        self.changed |= view.turn(now, judged);
        self.changed |= self.nodes.get(&id).and_then(moves) != moves(&view);
        self.nodes.insert(id, view);
        restarted
    }

    /// The share of its capacity at which an edge is full for viewers whom no policy selects.
    fn full_at(&self) -> f32 {
        let nobody = Subject {
            stream: None,
            region: None,
            label: None,
            stream_labels: &[],
        };
        cost::full_at(&self.policies.of(&nobody).policy) as f32
    }

    /// Brings the streams of one origin up to date.
    fn list(&mut self, now: u64, origin: &str, listed: Vec<StreamRecord>, restarted: bool) {
        let mine = |record: &StreamRecord| record.origin.as_str() == origin;
        let gone: Vec<StreamKey> = {
            let listed: BTreeSet<&StreamKey> = listed.iter().map(|record| &record.key).collect();
            let before = self.streams.values().filter(|record| mine(record));
            let gone = before.filter(|record| !listed.contains(&record.key));
            gone.map(|record| record.key.clone()).collect()
        };
        for key in gone {
            if restarted {
                self.orphans.entry(key).or_insert(now);
            } else if !self.orphans.contains_key(&key) {
                self.end(&key);
            }
        }
        for record in listed.into_iter().filter(mine) {
            self.announce(record);
        }
    }

    /// Takes a stream that its origin has now; of two origins the higher epoch is right.
    fn announce(&mut self, record: StreamRecord) {
        let known = self.streams.get(&record.key);
        if known.is_some_and(|known| known.epoch > record.epoch && known.origin != record.origin) {
            return;
        }
        self.changed |= known.is_none_or(|known| known.origin != record.origin);
        self.orphans.remove(&record.key);
        if known.is_none_or(|known| **known != record) {
            Arc::make_mut(&mut self.streams).insert(record.key.clone(), Arc::new(record));
        }
    }

    fn end(&mut self, key: &StreamKey) {
        self.changed |= Arc::make_mut(&mut self.streams).remove(key).is_some();
        self.orphans.remove(key);
    }

    fn end_orphans(&mut self, now: u64) {
        let origins = self
            .nodes
            .values()
            .filter(|view| view.node().role == Role::Origin);
        let down = origins.filter(|view| view.health == Health::Down);
        let down: BTreeSet<&NodeId> = down.map(|view| &view.node().id).collect();
        if down.is_empty() && self.orphans.is_empty() {
            return;
        }
        for record in self
            .streams
            .values()
            .filter(|record| down.contains(&record.origin))
        {
            self.orphans.entry(record.key.clone()).or_insert(now);
        }
        let over = self
            .orphans
            .iter()
            .filter(|(_, since)| now - **since >= LINGER_MS);
        let over: Vec<StreamKey> = over.map(|(key, _)| key.clone()).collect();
        over.iter().for_each(|key| self.end(key));
    }

    fn judge(&mut self, now: u64) {
        for view in self.nodes.values_mut() {
            let judged = judged(view, &self.drains, now);
            self.changed |= view.turn(now, judged);
        }
    }
}

fn judged(view: &NodeView, drains: &BTreeSet<NodeId>, now: u64) -> Health {
    let silent = now.saturating_sub(view.seen_ms) >= SILENCE_MS;
    match view.sample.state {
        State::Leaving => Health::Down,
        _ if silent => Health::Down,
        State::Draining => Health::Draining,
        State::Serving if drains.contains(&view.node().id) => Health::Draining,
        State::Serving => Health::Up,
    }
}

/// Whether viewers may be sent there: `scheme://authority` in characters that need no escaping in
/// a header, and nothing behind the authority that the stream's path would be glued to.
fn is_public_url(url: &str) -> bool {
    let authority = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    authority
        .is_some_and(|host| (1..=MAX_AUTHORITY).contains(&host.len()) && host.bytes().all(plain))
}

/// A DNS name of 253 characters, a colon and a port.
const MAX_AUTHORITY: usize = 259;

/// Three missed heartbeats of one second, less the tick that notices it: a node killed just after a
/// heartbeat is out of all answers within three seconds.
pub const SILENCE_MS: u64 = 2_900;

/// How often [`Registry::tick`] is to be called.
pub const TICK_MS: u64 = 100;

/// Ticks this far apart mean that this process was suspended, not that the others were silent.
const STALL_MS: u64 = 1_000;

/// Down nodes stay visible to operators for as long as they may wonder about them.
const FORGET_MS: u64 = 600_000;

/// How long a node must have been up before running players are moved to it for being nearer: one
/// that starts over and over again gets none.
pub const SETTLE_MS: u64 = 30_000;

/// How long a stream without an origin waits for it: a restart and an encoder's redial take
/// seconds.
const LINGER_MS: u64 = 30_000;

/// Node numbers are 16 bits, and a snapshot is copied each second.
const MAX_NODES: usize = 4_096;

#[cfg(test)]
mod tests;
