//! Steers viewers: takes samples in, plans, and answers every request with the best edge.

pub mod geo;
