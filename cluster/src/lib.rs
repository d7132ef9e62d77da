//! What the nodes of a cluster agree on: who they are, what is on air, what they measured, what
//! the scheduler decided, and who may publish or watch; and where the scheduler keeps its part.
//!
//! Knows no frame and no playback protocol. Nodes talk to schedulers ([`agent`]); only a scheduler
//! opens a [`store`].

pub mod node;
pub mod stream;
pub mod region;
pub mod waiting;
pub mod time;
pub mod moment;
pub mod event;
pub mod sample;
pub mod moves;
pub mod plan;
pub mod token;
pub mod hls;
pub mod usage;
pub mod store;
pub mod agent;
pub mod config;
