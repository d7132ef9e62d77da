//! Tracks, groups and the road between nodes.
//!
//! A track is one stream as it passes through a node: groups in order, each starting at a key
//! frame, each a list of frames. Producers append, any number of readers follow by position, and
//! one cache bounds the bytes of all of them. The relay protocol (`docs/protocols.md`, "Relay
//! protocol weir/1") carries groups from node to node, one unidirectional QUIC stream each.
//! Payloads are referenced, never looked into.

mod bell;

pub mod group;
pub mod track;
pub mod reader;
pub mod cache;
pub mod wire;
pub mod repair;
pub mod session;
pub mod driver;
pub mod congestion;
