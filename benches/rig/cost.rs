//! What serving viewers costs: processor time per byte received, latency, and how idle the server's core is.

use super::{
    crowd::{Crowd, Seen},
    process::cpu_seconds,
};
use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

const JOIN: Duration = Duration::from_secs(2);
/// From the last join until all have caught up with the stream and the sockets' buffers have grown.
const SETTLE: Duration = Duration::from_secs(3);
pub const WINDOW: Duration = Duration::from_secs(8);
/// One viewer of so many is looked into.
const LOOK_AT: usize = 10;
/// A core with less time left is called saturated.
const IDLE: f64 = 0.2;

pub struct Cost {
    pub per_gb: f64,
    pub p50: f64,
    pub p99: f64,
    /// Share of the time that is left of one core.
    pub idle: f64,
    pub lost: u64,
}

impl Cost {
    /// Of a server while so many watch, who come within two seconds.
    pub fn of(pid: u32, address: SocketAddr, path: &str, viewers: usize) -> Self {
        let mut crowd = Crowd::new(address, path, LOOK_AT);
        crowd.join(viewers, JOIN);
        Self::of_crowd(pid, &mut crowd)
    }

    /// Of a server while these watch, who have come just now.
    pub fn of_crowd(pid: u32, crowd: &mut Crowd) -> Self {
        let lost = crowd.watch(SETTLE).lost;
        let mut cost = Self::while_watching(pid, || crowd.watch(WINDOW));
        cost.lost += lost;
        cost
    }

    /// Of a server during this.
    pub fn while_watching(pid: u32, watch: impl FnOnce() -> Seen) -> Self {
        let (cpu, start) = (cpu_seconds(pid), Instant::now());
        let seen = watch();
        let (cpu, wall) = (cpu_seconds(pid) - cpu, start.elapsed().as_secs_f64());
        Self {
            per_gb: cpu / (seen.bytes as f64 / 1e9),
            p50: seen.latency_ms(0.5),
            p99: seen.latency_ms(0.99),
            idle: 1.0 - cpu / wall,
            lost: seen.lost,
        }
    }

    pub fn is_saturated(&self) -> bool {
        self.idle < IDLE
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (per_gb, idle) = (self.per_gb, self.idle * 100.0);
        let latency = format!("{:.1}/{:.1}", self.p50, self.p99);
        write!(f, "{per_gb:>6.3} {latency:>13} {idle:>3.0} %")?;
        match self.lost {
            0 => Ok(()),
            lost => write!(f, " ({lost} viewers lost)"),
        }
    }
}
