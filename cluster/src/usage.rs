//! What the process uses of its machine: processor time and resident memory, from `/proc`.
//!
//! A reading costs two small files and holds for [`MIN_INTERVAL`]; samples and metrics share one
//! [`Meter`]. Away from Linux, or without `/proc`, everything reads 0.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Shortest time over which the processor share is measured: the kernel counts in ticks of 10 ms,
/// so that a share over less would jump.
pub const MIN_INTERVAL: Duration = Duration::from_millis(900);

/// Ticks per second in `/proc/PID/stat`: `USER_HZ`, part of Linux's ABI and 100 everywhere we run.
const TICKS_PER_S: f64 = 100.0;

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Share of all cores that the process may use, 0 to 1, since the reading before.
    pub cpu: f32,
    /// Resident memory.
    pub memory_bytes: u64,
}

/// Reads the process's usage.
#[derive(Debug)]
pub struct Meter {
    cores: f64,
    last: Mutex<Reading>,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    ticks: u64,
    usage: Usage,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Meter {
    /// A meter whose first interval begins now.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
        let usage = Usage {
            cpu: 0.0,
            memory_bytes: read_memory(),
        };
        let last = Mutex::new(Reading {
            at: Instant::now(),
            ticks: read_ticks(),
            usage,
        });
        Self { cores, last }
    }

    /// The usage over the last second or so.
    pub fn read(&self) -> Usage {
        let mut last = self.last.lock();
        let elapsed = last.at.elapsed();
        if elapsed >= MIN_INTERVAL {
            let ticks = read_ticks();
            let used_s = ticks.saturating_sub(last.ticks) as f64 / TICKS_PER_S;
            let cpu = (used_s / elapsed.as_secs_f64() / self.cores).min(1.0) as f32;
            last.usage = Usage {
                cpu,
                memory_bytes: read_memory(),
            };
            (last.at, last.ticks) = (Instant::now(), ticks);
        }
        last.usage
    }
}

fn read_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat");
    stat.ok().and_then(|text| parse_ticks(&text)).unwrap_or(0)
}

fn read_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status");
    status
        .ok()
        .and_then(|text| parse_memory(&text))
        .unwrap_or(0)
}

/// `utime` and `stime`, fields 14 and 15 of proc_pid_stat(5); counted behind the command's name,
/// which is in brackets and may hold anything.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// The line `VmRSS:  1234 kB` of proc_pid_status(5).
fn parse_memory(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_counted_behind_the_command_name() {
        let rest = "S 1 1 1 0 -1 4194304 90 0 0 0 250 50 0 0 20 0 4 0 100 1000 10";
        let rows = [
            (format!("7 (weir) {rest}"), Some(300)),
            (format!("7 (a ) b (c)) {rest}"), Some(300)),
            ("7 (weir) S 1 1".into(), None),
            ("".into(), None),
        ];
        for (text, ticks) in rows {
            assert_eq!(parse_ticks(&text), ticks, "{text}");
        }
    }

    #[test]
    fn memory_is_the_resident_set() {
        let rows = [
            (
                "Name:\tweir\nVmPeak:\t 99 kB\nVmRSS:\t    12 kB\n",
                Some(12 * 1024),
            ),
            ("VmRSS:\t12\n", None),
            ("Name:\tweir\n", None),
        ];
        for (text, bytes) in rows {
            assert_eq!(parse_memory(text), bytes, "{text}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_memory() {
        assert!(Meter::new().read().memory_bytes > 100_000);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}") {
            let _ = (parse_ticks(&text), parse_memory(&text));
        }
    }
}
