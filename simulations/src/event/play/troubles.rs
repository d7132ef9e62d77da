//! Sans-IO: what goes wrong: edges die and come back, are drained, carry too much.

use cluster::moves::Moves;
use cluster::node::Capacity;
use scheduler::snapshot::mix;

use super::super::agenda::What;
use super::super::tally::Thrown;
use super::super::viewer::{Edges, NOWHERE};
use super::Play;

impl Play<'_> {
    /// What happens at the beginning of a second: counting, kills, drains, edges that come back.
    pub(super) fn happens(&mut self, second: u32) {
        let warm_up_s = self.times.warm_up_s;
        if second == warm_up_s {
            self.tally.counts = true;
            self.tally.figures.present = (self.viewers.len() - self.free.len()) as u64;
        }
        if self.tally.counts {
            self.tally.begin(second);
        }
        let at = |minute: f64| (minute >= 0.0).then(|| warm_up_s + (minute * 60.0) as u32);
        let kill = at(self.window.kill_min);
        if kill == Some(second) {
            self.killed = self.busiest();
            self.killed
                .into_iter()
                .for_each(|edge| self.kill(second * 1000, edge));
        }
        if kill.map(|it| it + (self.window.dead_min * 60.0) as u32) == Some(second) {
            self.killed
                .into_iter()
                .for_each(|edge| self.edges[edge].alive = true);
        }
        if at(self.window.drain_min) == Some(second) {
            self.busiest()
                .into_iter()
                .for_each(|edge| self.edges[edge].draining = true);
        }
        self.outages(second);
    }

    /// Edges that the world lets die and come back.
    fn outages(&mut self, second: u32) {
        let slot_at = |second: u32| self.times.slot(self.world, second * 1000);
        let slot = slot_at(second);
        if second > 0 && slot == slot_at(second - 1) {
            return;
        }
        for edge in 0..self.edges.len() {
            let was = slot == 0 || second == 0 || self.world.is_up(edge, slot - 1);
            match (was, self.world.is_up(edge, slot)) {
                (true, false) => self.kill(second * 1000, edge),
                (false, true) => self.edges[edge].alive = true,
                _ => {}
            }
        }
    }

    /// The living edge with the most viewers.
    fn busiest(&self) -> Option<usize> {
        let usable = |at: &usize| self.edges[*at].alive && !self.edges[*at].draining;
        let all = (0..self.edges.len()).filter(usable);
        all.max_by_key(|at| (self.edges[*at].members.len(), usize::MAX - at))
    }

    /// An edge dies: its viewers notice one after the other and try the next of their answers.
    fn kill(&mut self, now_ms: u32, edge: usize) {
        if !self.edges[edge].alive {
            return;
        }
        let kill = self.tally.kills.len() as u16;
        self.tally.kills.push(Thrown {
            edge,
            at_ms: now_ms,
            again_ms: Vec::new(),
            lost: 0,
        });
        let within_ms = (self.window.notice_s * 1e3) as u64;
        while let Some(&at) = self.edges[edge].members.last() {
            self.stand_up(now_ms, at);
            let viewer = &mut self.viewers[at as usize];
            viewer.since_ms = now_ms;
            viewer.kill = kill;
            viewer.next = 0;
            viewer.edges = without(viewer.edges, edge as u16);
            let notices_ms = mix(viewer.key ^ u64::from(now_ms)) % within_ms.max(1);
            self.plan(now_ms + notices_ms as u32, at, What::Connect);
        }
        self.edges[edge].die();
    }

    /// Edges that are drained or overloaded tell players to ask, at the pace that nodes have.
    pub(super) fn tell_players(&mut self, now_ms: u32) {
        if !self.guide.is_ours() {
            return;
        }
        for at in 0..self.edges.len() {
            let edge = &self.edges[at];
            let capacity = Capacity {
                egress_bps: edge.capacity_bps,
                viewers: 0,
            };
            let viewers = edge.members.len() as u32;
            let moves = if edge.draining {
                Some(Moves::DRAIN)
            } else {
                Moves::relieving(&capacity, viewers, edge.demand_bps)
            };
            let Some(moves) = moves.filter(|_| edge.alive && viewers > 0) else {
                self.told[at] = 0.0;
                continue;
            };
            let (from, to) = (self.told[at], self.told[at] + moves.share());
            self.told[at] = to;
            let due = |member: &u32| {
                let viewer = &self.viewers[*member as usize];
                let phase = (mix(viewer.key) >> 11) as f64 / (1_u64 << 53) as f64;
                let rounds = libm::floor(to - phase) - libm::floor(from - phase);
                viewer.player.is_told() && rounds >= 1.0
            };
            let members: Vec<u32> = edge.members.iter().copied().filter(due).collect();
            members
                .into_iter()
                .for_each(|member| self.ask_running(now_ms, member));
        }
    }
}

/// An answer without an edge.
fn without(edges: Edges, edge: u16) -> Edges {
    let mut others = NOWHERE;
    let left = edges.into_iter().filter(|it| *it != edge);
    others
        .iter_mut()
        .zip(left)
        .for_each(|(to, from)| *to = from);
    others
}
