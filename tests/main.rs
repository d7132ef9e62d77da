//! The one integration-test binary: real nodes, real programs, on loopback.

#![allow(unreachable_pub)] // a test binary has no outside: `pub` says that other files use it

mod browser;
mod failover;
mod fanout;
mod harness;
mod hostile;
mod operate;
mod publish_play;
mod soak;
mod tidy;
