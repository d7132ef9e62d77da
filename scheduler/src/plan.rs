//! Sans-IO: what every node is told: who is there, what is on air from where, whom to refuse.
//!
//! The revision moves only when the content does, so that nodes fetch nothing new from a quiet
//! cluster. Streams are taken straight from their origin: the parents' list stays empty.

use cluster::plan::{Kick, Mark, NodeState, Plan, StreamPlan};
use cluster::stream::StreamRecord;

use crate::snapshot::NodeView;

/// What a plan is made from.
pub struct Facts<N, S, K> {
    /// Every known node.
    pub nodes: N,
    /// Every stream on air.
    pub streams: S,
    /// Every kick in force.
    pub kicks: K,
}

/// The next plan, or None when nothing differs from the one before.
pub fn plan<'a>(
    before: &Plan,
    facts: Facts<
        impl Iterator<Item = &'a NodeView>,
        impl Iterator<Item = &'a StreamRecord>,
        impl Iterator<Item = Kick>,
    >,
) -> Option<Plan> {
    let state = |view: &NodeView| NodeState {
        node: view.node().clone(),
        health: view.health,
    };
    let stream = |record: &StreamRecord| StreamPlan {
        key: record.key.clone(),
        origin: record.origin.clone(),
        parents: Vec::new(),
    };
    let mut next = Plan::new(
        before.mark,
        facts.nodes.map(state).collect(),
        facts.streams.map(stream).collect(),
        facts.kicks.collect(),
    );
    if next == *before {
        return None;
    }
    next.mark = Mark {
        revision: before.mark.revision + 1,
        ..before.mark
    };
    Some(next)
}
