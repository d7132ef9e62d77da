//! What the benchmarks of viewers share: a stamped stream, a bare writer to compare with, a cheap crowd of viewers, and
//! what a process costs.
//!
//! Everything runs on loopback. With two cores or more, the server that is measured has [`SERVER_CORE`] for itself, and
//! all else (publisher, origin, scheduler, viewers) shares [`CLIENT_CORE`]; so the kernel's work on the receiving
//! side, which loopback does within the sender's call, is charged to the server, whichever it is.

#[path = "../tests"]
pub mod cluster {
    pub mod harness;
}
pub mod body;
pub mod cost;
pub mod crowd;
pub mod edge;
pub mod floor;
pub mod one;
pub mod probe;
pub mod process;
pub mod source;

pub const SERVER_CORE: usize = 0;
pub const CLIENT_CORE: usize = 1;

/// Whether only a few cells are wanted: `WEIR_BENCH_QUICK=1`.
pub fn quick() -> bool {
    std::env::var("WEIR_BENCH_QUICK").is_ok_and(|value| value == "1")
}

/// Starts lines of progress, so that a table can be told from what led to it.
pub fn progress(text: &str) {
    eprintln!("  .. {text}");
}
