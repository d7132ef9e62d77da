//! Steers viewers: takes samples in, plans, and answers every request with the best edge.

pub mod collect;
pub mod snapshot;
pub mod plan;
pub mod geo;
pub mod steer;
pub mod sticky;
