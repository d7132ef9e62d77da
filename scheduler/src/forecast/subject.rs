//! Sans-IO: which series of the history are forecast, and which of them when there are too many.

use std::collections::HashMap;

/// What a series is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Demand of the whole cluster.
    Total,
    /// Demand of a region, which control follows.
    Region,
    /// A node's processors, for safety.
    Cpu,
    /// A node's egress, for safety.
    Egress,
    /// A stream's viewers, for pre-warming.
    Stream,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Total,
        Self::Region,
        Self::Cpu,
        Self::Egress,
        Self::Stream,
    ];

    /// The kind of a series, if it is one that is forecast.
    pub fn of(id: &str) -> Option<Self> {
        let (what, rest) = id.split_once('/')?;
        let last = rest.rsplit('/').next()?;
        Some(match (what, last) {
            ("total", "demand") => Self::Total,
            ("region", "demand") => Self::Region,
            ("node", "cpu") => Self::Cpu,
            ("node", "egress_bps") => Self::Egress,
            ("stream", "viewers") => Self::Stream,
            _ => return None,
        })
    }

    /// Its word in metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Region => "region",
            Self::Cpu => "cpu",
            Self::Egress => "egress",
            Self::Stream => "stream",
        }
    }

    /// What values are multiplied by to be forecast: models think in `ln(1 + y)`, and a share below
    /// one would hardly move there.
    pub(super) fn unit(self) -> f64 {
        match self {
            Self::Cpu => 100.0,
            _ => 1.0,
        }
    }
}

/// The series of those who came and of those who went, beside one of viewers.
pub(super) fn flow_of(id: &str) -> Option<[String; 2]> {
    let kind = Kind::of(id)?;
    let (subject, _) = id.rsplit_once('/')?;
    let counted = matches!(kind, Kind::Total | Kind::Region | Kind::Stream);
    counted.then(|| ["joins", "leaves"].map(|flow| format!("{subject}/{flow}")))
}

/// Chooses as many as there is room for: kinds in turn, each with its busiest first. Gives them
/// busiest first within each kind.
pub(super) fn choose(candidates: Vec<(String, f64)>, room: usize) -> Vec<String> {
    let mut by_kind: HashMap<Kind, Vec<(String, f64)>> = HashMap::new();
    for (id, load) in candidates {
        if let Some(kind) = Kind::of(&id) {
            by_kind.entry(kind).or_default().push((id, load));
        }
    }
    let mut ranked = Vec::new();
    for (kind, mut of_kind) in by_kind {
        of_kind.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let places = of_kind.into_iter().enumerate();
        ranked.extend(places.map(|(place, (id, _))| (place, kind, id)));
    }
    ranked.sort();
    ranked.truncate(room);
    ranked.into_iter().map(|(_, _, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_from_names() {
        for (id, kind) in [
            ("total/demand", Some(Kind::Total)),
            ("total/viewers", None),
            ("region/DE/demand", Some(Kind::Region)),
            ("region/DE/egress_bps", None),
            ("node/edge-1/cpu", Some(Kind::Cpu)),
            ("node/edge-1/egress_bps", Some(Kind::Egress)),
            ("stream/live/show/viewers", Some(Kind::Stream)),
            ("stream/live/show/joins", None),
            ("", None),
        ] {
            assert_eq!(Kind::of(id), kind, "{id}");
        }
        let flow = flow_of("stream/live/show/viewers").unwrap();
        assert_eq!(flow, ["stream/live/show/joins", "stream/live/show/leaves"]);
        assert_eq!(flow_of("node/a/cpu"), None);
    }

    #[test]
    fn each_kind_has_its_busiest_and_none_is_crowded_out() {
        let streams = (0..100).map(|n| (format!("stream/live/{n}/viewers"), 1e6 + f64::from(n)));
        let regions = [("DE", 5.0), ("FR", 7.0), ("US", 1.0)]
            .map(|(id, load)| (format!("region/{id}/demand"), load));
        let all = streams
            .chain(regions)
            .chain([("total/demand".into(), 13.0)]);
        let chosen = choose(all.collect(), 6);
        let expect = [
            "total/demand",
            "region/FR/demand",
            "stream/live/99/viewers",
            "region/DE/demand",
            "stream/live/98/viewers",
            "region/US/demand",
        ];
        assert_eq!(chosen, expect);
    }
}
