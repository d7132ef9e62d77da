//! Steers viewers: takes samples in, plans, and answers every request with the best edge.
//!
//! A telemetry sample comes in at [`collect`], becomes part of a [`snapshot`], and what follows
//! for every node goes out as the [`plan`]. A viewer comes in at [`redirect`], is placed by [`geo`]
//! and sent to an edge by [`steer`]; [`steering`] moves running HLS players; [`explain`] says why.
//! What was demanded and carried is remembered in the [`history`]; what will be follows in the
//! [`forecast`].
//! No frame is ever seen here.

pub mod config;
pub mod collect;
pub mod snapshot;
pub mod market;
pub mod paths;
pub mod plan;
pub mod planner;
pub mod steer;
pub mod steering;
pub mod geo;
pub mod glob;
pub mod policy;
pub mod price;
pub mod shadow;
pub mod pathway;
pub mod scale;
pub mod dns;
pub mod sticky;
pub mod usage;
pub mod redirect;
pub mod explain;
pub mod diary;
pub mod api;
pub mod meter;
pub mod history;
pub mod forecast;
mod service;

pub use config::Config;
pub use service::{Addrs, Scheduler};
