//! Frames, codecs and containers: bytes to [`frame::Frame`] and back.
//!
//! Knows formats and nothing else: no sockets, no clocks, no other crate of Weir.

pub mod frame;
pub mod timestamp;
