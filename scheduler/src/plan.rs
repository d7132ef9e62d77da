//! Sans-IO: what every node is told: who is there, what is on air from where, whom to refuse, who
//! should ask its viewers to leave.
//!
//! The revision moves only when the content does, so that nodes fetch nothing new from a quiet
//! cluster. From whom edges take a stream is [`relay`]'s.

pub mod billing;
pub mod cost;
pub mod goals;
pub mod homes;
pub mod levels;
pub mod paths;
pub mod relay;
pub mod rungs;
pub mod split;
pub mod trade;
pub mod view;

use cluster::moves::Moves;
use cluster::plan::{Health, Kick, Leaving, Mark, NodeState, Plan, StreamPlan};
use cluster::stream::StreamRecord;

use crate::snapshot::{Ladders, NodeView};
use relay::Routes;

/// The next plan, or None when nothing differs from the one before.
pub fn plan<'a>(
    before: &Plan,
    nodes: impl Iterator<Item = &'a NodeView> + Clone,
    streams: impl Iterator<Item = &'a StreamRecord>,
    kicks: impl Iterator<Item = Kick>,
    (ladders, routes): (&Ladders, &Routes),
) -> Option<Plan> {
    let state = |view: &NodeView| NodeState {
        node: view.node().clone(),
        health: view.health,
    };
    let stream = |record: &StreamRecord| StreamPlan {
        key: record.key.clone(),
        origin: record.origin.clone(),
        parents: Vec::new(),
        routes: routes.get(&record.key).cloned().unwrap_or_default(),
        rungs: ladders.get(&record.key).cloned().unwrap_or_default(),
    };
    let order = |view: &NodeView| {
        let node = view.node().id.clone();
        moves(view).map(|moves| Leaving { node, moves })
    };
    let orders = nodes.clone().filter_map(order).collect();
    let lists = (
        nodes.map(state).collect(),
        streams.map(stream).collect(),
        kicks.collect(),
    );
    let mut next = Plan::new(before.mark, lists.0, lists.1, lists.2).moving(orders);
    if next == *before {
        return None;
    }
    next.mark = Mark {
        revision: before.mark.revision + 1,
        ..before.mark
    };
    Some(next)
}

/// How fast an edge is to ask its viewers to leave, by its newest sample: who was sent there since
/// may not have come yet.
pub(crate) fn moves(view: &NodeView) -> Option<Moves> {
    match view.health {
        _ if !view.is_edge || view.viewers == 0 => None,
        Health::Draining => Some(Moves::DRAIN),
        Health::Up => Moves::relieving(&view.capacity, view.viewers, view.egress_bps),
        Health::Down => None,
    }
}
