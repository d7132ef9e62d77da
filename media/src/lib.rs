//! Frames, codecs and containers: bytes to [`frame::Frame`] and back.
//!
//! Knows formats and nothing else: no sockets, no clocks, no other crate of Weir.

pub mod timestamp;

pub mod frame;

pub mod codec;

pub mod amf;

pub mod flv;

pub mod mp4;

pub mod segment;

pub mod fmp4;

pub mod playlist;
