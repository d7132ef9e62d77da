//! What a process costs, as proc_pid_stat(5) and proc_pid_statm(5) say, and on which cores it runs.

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::{fs, time::Duration};

/// Keeps the calling thread, and all that it starts from now on, on these cores.
pub fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).expect("the cores exist");
}

/// Keeps all threads of a running process, and those that they start, on one core.
pub fn move_to(pid: u32, core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("it runs") {
        let id = task
            .ok()
            .and_then(|task| task.file_name().to_str()?.parse().ok());
        let id = id.and_then(rustix::thread::Pid::from_raw);
        sched_setaffinity(id, &set).expect("the core exists");
    }
}

/// User and system time of a process so far, in ticks of 10 ms (fields 14 and 15).
///
/// Linux scales both so that their sum is the exact time on a core; without `IRQ_TIME_ACCOUNTING` that holds the
/// work of soft interrupts raised by the process's own calls, which is where loopback receives.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields = stat.rsplit_once(')').expect("the name is in brackets").1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// Time that the calling thread has used of a core.
pub fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Resident memory in bytes.
pub fn resident(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0u64) * 4096
}

/// How busy the whole machine has been since a moment, as proc_stat(5) says.
pub struct MachineBusy {
    all: u64,
    idle: u64,
}

impl MachineBusy {
    pub fn since_now() -> Self {
        let stat = fs::read_to_string("/proc/stat").expect("Linux");
        let cpu = stat.lines().next().expect("a line for all cores");
        let ticks = cpu
            .split_whitespace()
            .skip(1)
            .map(|n| n.parse().unwrap_or(0));
        let ticks: Vec<u64> = ticks.collect();
        Self {
            all: ticks.iter().take(8).sum(),
            // Idle, and idle while a disk is waited for.
            idle: ticks[3] + ticks[4],
        }
    }

    /// Between 0 and 1.
    pub fn share(&self) -> f64 {
        let now = Self::since_now();
        1.0 - (now.idle - self.idle) as f64 / (now.all - self.all).max(1) as f64
    }
}
