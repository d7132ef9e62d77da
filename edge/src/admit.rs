//! Sans-IO: whether a viewer may watch here, somewhere else, or not at all.
//!
//! The token is judged first, so that a stranger learns nothing about the node's load. A node that drains or
//! is nearly full sends a viewer only to an edge that the scheduler signed into the token, and only further down that
//! list: two full edges cannot send a viewer to and fro. At the end of the list the last room is taken, too. Viewers who
//! are already in are never asked again.

use cluster::node::{Capacity, Node, NodeId, Role};
use cluster::plan::{Health, Plan};

/// What is known of who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The edges that the token names, best first (none means any edge), or why it was refused.
    pub token: Result<&'a [NodeId], &'static str>,
    /// This node.
    pub here: &'a NodeId,
}

/// What the node carries now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Viewers connected or joining.
    pub viewers: u32,
    /// Bits per second sent, with those reckoned in who joined since it was measured.
    pub egress_bps: u64,
    /// Whether the node takes no new viewers.
    pub draining: bool,
}

/// What becomes of a viewer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// Watches here.
    Admit,
    /// Is sent to another edge of its token.
    Redirect(&'a Node, Reason),
    /// Is turned away.
    Refuse(Reason),
}

/// Why a viewer does not watch here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The token does not allow it; the text is for counters and logs, not for the viewer.
    Token(&'static str),
    /// The node takes no new viewers.
    Draining,
    /// As many viewers as the node may have.
    Viewers,
    /// As many bits per second as the node may send.
    Egress,
}

impl Reason {
    /// The label in counters and samples.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token(reason) => reason,
            Self::Draining => "draining",
            Self::Viewers => "viewers_full",
            Self::Egress => "egress_full",
        }
    }

    /// The HTTP status of a refusal.
    pub fn status(self) -> u16 {
        match self {
            Self::Token(_) => 403,
            Self::Draining | Self::Viewers | Self::Egress => 503,
        }
    }
}

/// Decides about one viewer.
pub fn admit<'a>(
    asked: &Asked<'_>,
    load: &Load,
    capacity: &Capacity,
    plan: &'a Plan,
) -> Verdict<'a> {
    let edges = match asked.token {
        Ok(edges) => edges,
        Err(reason) => return Verdict::Refuse(Reason::Token(reason)),
    };
    let nearly = Capacity {
        egress_bps: (capacity.egress_bps as f64 * SENDS_ON).ceil() as u64,
        ..*capacity
    };
    let Some(reason) = obstacle(load, &nearly) else {
        return Verdict::Admit;
    };
    let next = fallback(edges, asked.here, plan).map(|node| Verdict::Redirect(node, reason));
    next.unwrap_or_else(|| match obstacle(load, capacity) {
        Some(reason) => Verdict::Refuse(reason),
        None => Verdict::Admit,
    })
}

fn obstacle(load: &Load, capacity: &Capacity) -> Option<Reason> {
    let full = |used: u64, most: u64| most > 0 && used >= most;
    if load.draining {
        Some(Reason::Draining)
    } else if full(load.viewers.into(), capacity.viewers.into()) {
        Some(Reason::Viewers)
    } else if full(load.egress_bps, capacity.egress_bps) {
        Some(Reason::Egress)
    } else {
        None
    }
}

/// The first healthy edge behind this one in the token's list.
fn fallback<'a>(edges: &[NodeId], here: &NodeId, plan: &'a Plan) -> Option<&'a Node> {
    let behind = edges
        .iter()
        .skip_while(|id| *id != here)
        .skip(1)
        .filter(|id| *id != here);
    let states = behind.filter_map(|id| plan.node(id));
    let mut usable = states.filter(|s| s.health == Health::Up && s.node.role == Role::Edge);
    usable.next().map(|state| &state.node)
}

/// The share of its egress from which an edge sends on whoever another edge can take: what it sends
/// differs by some per cent from second to second.
const SENDS_ON: f64 = 0.97;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::described;
    use cluster::plan::{Mark, NodeState};

    fn id(name: &str) -> NodeId {
        NodeId::parse(name).unwrap()
    }

    fn state(name: &str, role: Role, health: Health) -> NodeState {
        let node = described(name, role);
        NodeState { node, health }
    }

    fn check(name: &str, token: Result<&[&str], &'static str>, load: Load, expected: &str) {
        let plan = Plan::new(
            Mark::default(),
            vec![
                state("me", Role::Edge, Health::Up),
                state("up", Role::Edge, Health::Up),
                state("other", Role::Edge, Health::Up),
                state("down", Role::Edge, Health::Down),
                state("draining", Role::Edge, Health::Draining),
                state("origin", Role::Origin, Health::Up),
            ],
            Vec::new(),
            Vec::new(),
        );
        let edges = token.map(|names| names.iter().map(|n| id(n)).collect::<Vec<_>>());
        let token = edges.as_deref().map_err(|reason| *reason);
        let capacity = Capacity {
            viewers: 10,
            egress_bps: 1000,
        };
        let here = id("me");
        let verdict = match admit(&Asked { token, here: &here }, &load, &capacity, &plan) {
            Verdict::Admit => "admit".to_owned(),
            Verdict::Redirect(node, reason) => format!("{} {}", node.id, reason.as_str()),
            Verdict::Refuse(reason) => format!("{} {}", reason.status(), reason.as_str()),
        };
        assert_eq!(verdict, expected, "{name}");
    }

    #[test]
    fn decides_about_viewers() {
        let idle = Load {
            viewers: 9,
            egress_bps: 969,
            draining: false,
        };
        let nearly = Load {
            egress_bps: 970,
            ..idle
        };
        let crowded = Load {
            viewers: 10,
            ..idle
        };
        let busy = Load {
            egress_bps: 1000,
            ..idle
        };
        let leaving = Load {
            draining: true,
            ..idle
        };
        let any: Result<&[&str], _> = Ok(&[]);

        check("room", any, idle, "admit");
        check("room and a list", Ok(&["me", "up"]), idle, "admit");
        check("a bad token", Err("expired"), idle, "403 expired");
        check(
            "a bad token at a full node",
            Err("expired"),
            crowded,
            "403 expired",
        );
        check("nearly full, any edge", any, nearly, "admit");
        check(
            "nearly full, next edge",
            Ok(&["me", "up"]),
            nearly,
            "up egress_full",
        );
        check(
            "nearly full, the last edge",
            Ok(&["up", "me"]),
            nearly,
            "admit",
        );
        check("full, any edge", any, crowded, "503 viewers_full");
        check("no bandwidth, any edge", any, busy, "503 egress_full");
        check("draining, any edge", any, leaving, "503 draining");
        check(
            "full, next edge",
            Ok(&["me", "up", "other"]),
            crowded,
            "up viewers_full",
        );
        check(
            "draining, next edge",
            Ok(&["me", "up"]),
            leaving,
            "up draining",
        );
        check(
            "unhealthy edges skipped",
            Ok(&["me", "down", "draining", "up"]),
            busy,
            "up egress_full",
        );
        check(
            "never back up the list",
            Ok(&["up", "me"]),
            crowded,
            "503 viewers_full",
        );
        check(
            "never to itself",
            Ok(&["me", "me"]),
            crowded,
            "503 viewers_full",
        );
        check(
            "never to an unknown node",
            Ok(&["me", "nobody"]),
            crowded,
            "503 viewers_full",
        );
        check(
            "never to an origin",
            Ok(&["me", "origin"]),
            crowded,
            "503 viewers_full",
        );
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let load = Load {
            viewers: u32::MAX,
            egress_bps: u64::MAX,
            ..Load::default()
        };
        let asked = Asked {
            token: Ok(&[]),
            here: &id("me"),
        };
        let plan = Plan::default();
        let verdict = admit(&asked, &load, &Capacity::default(), &plan);
        assert_eq!(verdict, Verdict::Admit);
    }
}
