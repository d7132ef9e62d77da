//! Taking streams in and serving them to edges.
//!
//! Read downwards: `ingest` turns a publisher's bytes into events, `publish` turns events into
//! numbered groups, `live` keeps who publishes what, `serve` hands tracks to edges.

pub mod ingest;
