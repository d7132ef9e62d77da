//! What the edge may carry, which its operator may change while it runs.

use std::sync::Arc;

use cluster::node;
use parking_lot::Mutex;

use crate::config::Capacity;
use crate::room::Room;

/// The limits in force; a clone is the same ones.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// File descriptors of the process.
    descriptors: u64,
    now: Mutex<node::Capacity>,
}

impl Limits {
    /// Those of the configuration, as far as file descriptors suffice; and how many connections
    /// go with that.
    pub(crate) fn new(capacity: Capacity, descriptors: u64) -> (Self, usize) {
        let now = Mutex::default();
        let limits = Self(Arc::new(Shared { descriptors, now }));
        let connections = limits.fit(capacity).connections;
        (limits, connections)
    }

    /// What it may carry now.
    pub fn now(&self) -> node::Capacity {
        *self.0.now.lock()
    }

    /// Carries no more than that from now on. Who is too many is asked to leave like the viewers
    /// of any overloaded edge.
    pub fn set(&self, capacity: Capacity) {
        self.fit(capacity);
        let node::Capacity {
            egress_bps,
            viewers,
        } = self.now();
        tracing::info!(egress_bps, viewers, "other limits hold ([edge.capacity])");
    }

    fn fit(&self, capacity: Capacity) -> Room {
        let descriptors = self.0.descriptors;
        let room = Room::new(capacity.viewers, descriptors);
        if descriptors < room.needed {
            tracing::warn!(
                descriptors,
                needed = room.needed,
                wished = capacity.viewers,
                viewers = room.viewers,
                "too few file descriptors for [edge.capacity] viewers, taking fewer; \
                 raise the limit (LimitNOFILE= of a service, ulimit -Hn of a shell)"
            );
        }
        *self.0.now.lock() = node::Capacity {
            viewers: room.viewers,
            ..capacity.into()
        };
        room
    }
}
