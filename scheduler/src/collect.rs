//! Takes samples.
pub mod registry;
