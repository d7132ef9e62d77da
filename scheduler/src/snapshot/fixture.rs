//! Nodes, streams and snapshots for tests.

use std::collections::HashMap;
use std::sync::Arc;

use cluster::node::{Capacity, Node, NodeId, Place, Role};
use cluster::sample::Sample;
use cluster::stream::{StreamKey, StreamRecord};

use super::{NodeView, Sent, Snapshot};

/// A city's coordinates.
pub(crate) type City = (f64, f64);
pub(crate) const FRANKFURT: City = (50.11, 8.68);
pub(crate) const PARIS: City = (48.86, 2.35);
pub(crate) const VIRGINIA: City = (39.04, -77.49);
pub(crate) const SHANGHAI: City = (31.23, 121.47);

/// A serving node's sample: 1 Gbit/s and 1000 viewers at most.
pub(crate) fn sample(id: &str, role: Role, (lat, lon): City) -> Sample {
    let node = Node {
        id: NodeId::parse(id).unwrap(),
        role,
        public_url: format!("https://{id}.example.com"),
        relay: Some(format!("{id}:4443")),
        hub: false,
        zone: None,
        admin: None,
        place: Place {
            lat,
            lon,
            name: id.to_owned(),
            country: None,
        },
        capacity: Capacity {
            egress_bps: 1_000_000_000,
            viewers: 1_000,
        },
        version: "0".to_owned(),
    };
    Sample::new(node, 0)
}

/// A stream of 1 Mbit/s.
pub(crate) fn stream(key: &str, origin: &str) -> StreamRecord {
    StreamRecord {
        key: StreamKey::parse(key).unwrap(),
        origin: NodeId::parse(origin).unwrap(),
        epoch: 1,
        started_ms: 0,
        tracks: Vec::new(),
        bitrate_bps: 1_000_000,
        peak_bps: 0,
        publisher: String::new(),
    }
}

/// A healthy edge.
pub(crate) fn edge(number: u16, id: &str, city: City) -> NodeView {
    view(number, sample(id, Role::Edge, city))
}

/// A healthy node with that sample.
pub(crate) fn view(number: u16, sample: Sample) -> NodeView {
    NodeView {
        settled: true,
        ..NodeView::new(number, Arc::new(sample), Arc::new(Sent::default()))
    }
}

/// A snapshot of these nodes with the stream `live/x` on air.
pub(crate) fn snapshot(nodes: Vec<NodeView>) -> Snapshot {
    let record = Arc::new(stream("live/x", "origin"));
    let streams = Arc::new(HashMap::from([(record.key.clone(), record)]));
    Snapshot {
        nodes,
        streams,
        ..Snapshot::default()
    }
}
