//! The one integration-test binary: real nodes, real programs, on loopback.

mod browser;
mod failover;
mod fanout;
mod harness;
mod hostile;
mod operate;
mod publish_play;
mod tidy;
