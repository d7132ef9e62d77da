//! The one integration-test binary: real nodes, real programs, on loopback.

// A test binary has no outside: `pub` says that other files use it. A helper that fails fails its test.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod browser;
mod dns;
mod failover;
mod fanout;
mod forecast;
mod forecast_serving;
mod harness;
mod history;
mod hls;
mod hls_media;
mod hostile;
mod interop;
mod link;
mod load;
mod moves;
mod operate;
mod overload;
mod policy;
mod overflow;
mod publish_play;
mod relay_paths;
mod simulate;
mod simulated_truth;
mod soak;
mod steering;
mod tidy;
mod weak;
