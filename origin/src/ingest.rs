//! The ways a publisher's bytes come in.

pub mod rtmp;
