//! A decision in words: every edge with its distance, load and score, and why it lost.
//!
//! The admin API sends it as JSON, `weir explain` prints it; both read the decision that `steer`
//! made, nothing is worked out anew.

use std::fmt;

use cluster::node::NodeId;
use serde::{Deserialize, Serialize};

use crate::redirect::{ViewerPlace, Why};
use crate::snapshot::Snapshot;
use crate::steer::{Decision, Reason};

/// A decision and what it was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The stream asked for.
    pub stream: String,
    /// Whether it is on air.
    pub on_air: bool,
    /// Where the viewer was taken to be.
    pub place: ViewerPlace,
    /// The policy that held.
    pub policy: String,
    /// Why the first edge was chosen; None when none was.
    pub reason: Option<Why>,
    /// The chosen edge, the fallbacks in order, then the others from near to far.
    pub candidates: Vec<Candidate>,
}

/// One edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its id.
    pub edge: NodeId,
    /// What people call its place.
    pub place: String,
    /// Great-circle distance to the viewer.
    pub distance_km: f32,
    /// The round-trip time, measured or what the distance suggests.
    pub rtt_ms: f32,
    /// Whether it was measured.
    pub measured: bool,
    /// Share of its capacity in use, 0 to 1.
    pub load: f32,
    /// What a bit costs there, 1 being the mean price of all edges.
    pub price: f64,
    /// What it is worth that the stream is at home there, in the same units.
    pub affinity: f64,
    /// Lower is better: the way, the price and the crowd, less the affinity. None when it cannot
    /// be used.
    pub cost: Option<f64>,
    /// Its chance in the lottery, 0 to 1.
    pub chance: f64,
    /// 0 for the chosen edge, then 1, 2, 3 for the fallbacks.
    pub rank: Option<usize>,
    /// Why it lost; None for the chosen edge.
    pub lost: Option<Reason>,
}

impl Explanation {
    /// The explanation of a decision on that snapshot.
    pub fn new(
        snapshot: &Snapshot,
        stream: &str,
        place: ViewerPlace,
        decision: &Decision<'_>,
    ) -> Self {
        let ranked: Vec<usize> = decision.edges().map(|edge| edge.node).collect();
        let explain = |candidate: &crate::steer::Candidate| {
            let node = snapshot.nodes[candidate.node].node();
            Candidate {
                edge: node.id.clone(),
                place: node.place.name.clone(),
                distance_km: candidate.distance_km,
                rtt_ms: candidate.rtt_ms,
                measured: candidate.measured,
                load: candidate.load,
                price: candidate.price,
                affinity: candidate.affinity,
                cost: candidate.cost,
                chance: candidate.chance,
                rank: ranked.iter().position(|&node| node == candidate.node),
                lost: candidate.lost,
            }
        };
        let mut candidates: Vec<_> = decision.candidates.iter().map(explain).collect();
        candidates.sort_by(|a, b| {
            let rank = |it: &Candidate| it.rank.unwrap_or(usize::MAX);
            rank(a)
                .cmp(&rank(b))
                .then(a.distance_km.total_cmp(&b.distance_km))
        });
        Self {
            stream: stream.to_owned(),
            on_air: snapshot.stream(stream).is_some(),
            place,
            policy: decision.policy.name.to_string(),
            reason: decision.chosen().map(|_| Why::of(decision)),
            candidates,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        let roughly = if place.approximate { ", roughly" } else { "" };
        let named = [place.name.as_str(), place.country.as_str()];
        let named = named
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect::<Vec<_>>();
        let named = if named.is_empty() {
            "unknown place".to_owned()
        } else {
            named.join(", ")
        };
        writeln!(
            f,
            "viewer {} at {:.2}, {:.2} ({named}; {}{roughly})",
            place.address,
            place.lat,
            place.lon,
            place.source.as_str(),
        )?;
        if !self.on_air {
            writeln!(
                f,
                "{} is not on air: a viewer would be told so",
                self.stream
            )?;
        }
        match (self.candidates.first(), self.reason) {
            (Some(first), Some(why)) => writeln!(
                f,
                "{} goes to {} under policy {}: {}",
                self.stream,
                first.edge,
                self.policy,
                why.as_str()
            )?,
            _ => writeln!(f, "no edge can take a viewer of {}", self.stream)?,
        }
        if !self.candidates.is_empty() {
            writeln!(
                f,
                "{:>4}  {:<20} {:>9} {:>9} {:>6} {:>6} {:>6} {:>7} {:>7}  WHY",
                "RANK", "EDGE", "DISTANCE", "RTT", "LOAD", "PRICE", "HOME", "COST", "CHANCE"
            )?;
        }
        self.candidates
            .iter()
            .try_for_each(|candidate| writeln!(f, "{candidate}"))
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rank = self.rank.map_or("-".to_owned(), |rank| rank.to_string());
        let cost = self
            .cost
            .map_or("-".to_owned(), |cost| format!("{cost:.3}"));
        write!(
            f,
            "{rank:>4}  {:<20} {:>6.0} km {:>6.1} ms {:>4.0} % {:>6.2} {:>6.2} {cost:>7} {:>5.1} %  {}",
            self.edge.as_str(),
            self.distance_km,
            self.rtt_ms,
            self.load * 100.0,
            self.price,
            self.affinity,
            self.chance * 100.0,
            self.lost.map_or("chosen", Reason::as_str),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::geo::{Located, Point, Source};
    use crate::snapshot::fixture::{FRANKFURT, PARIS, SHANGHAI, VIRGINIA, edge, snapshot};
    use crate::steer::{Viewer, steer};

    fn explain(snapshot: &Snapshot, stream: &str) -> Explanation {
        let point = Point {
            lat: PARIS.0,
            lon: PARIS.1,
        };
        let located = Located {
            point,
            country: Some(*b"FR"),
            region: cluster::region::Region::UNKNOWN,
            source: Source::Country,
        };
        let place = ViewerPlace {
            address: IpAddr::from([192, 0, 2, 1]),
            lat: point.lat,
            lon: point.lon,
            name: String::new(),
            country: "FR".to_owned(),
            source: located.source,
            approximate: true,
        };
        let viewer = Viewer::new(located, 1, 0);
        Explanation::new(snapshot, stream, place, &steer(snapshot, &viewer))
    }

    #[test]
    fn every_edge_is_printed_with_its_reason() {
        let mut nodes = vec![
            edge(1, "sha", SHANGHAI),
            edge(2, "iad", VIRGINIA),
            edge(3, "fra", FRANKFURT),
        ];
        nodes[1].health = cluster::plan::Health::Draining;
        let explanation = explain(&snapshot(nodes), "live/x");
        let text = explanation.to_string();
        for expected in [
            "viewer 192.0.2.1 at 48.86, 2.35 (FR; country, roughly)",
            "live/x goes to fra under policy default: the nearest usable edge",
            "   0  fra                     478 km   13.6 ms    0 %   0.00   0.00   0.124 100.0 %  chosen",
            "   1  sha ",
            "farther than the policy's slack",
            "   -  iad ",
            "draining: takes no new viewers",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
        let json = serde_json::to_string(&explanation).unwrap();
        assert!(json.contains(r#""lost":"draining""#) && json.contains(r#""reason":"nearest""#));
        let back: Explanation = serde_json::from_str(&json).unwrap();
        assert_eq!(back.candidates.len(), 3);
    }

    #[test]
    fn the_absence_of_streams_and_edges_is_said() {
        let text = explain(&snapshot(Vec::new()), "live/gone").to_string();
        assert!(text.contains("live/gone is not on air"), "{text}");
        assert!(text.contains("no edge can take a viewer"), "{text}");
    }
}
