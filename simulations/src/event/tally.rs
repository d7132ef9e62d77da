//! Sans-IO: what viewers went through, in figures.

use serde::{Deserialize, Serialize};

use super::edge::Second;
use crate::world::World;

/// What viewers went through under a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// The figures.
    pub figures: Figures,
    /// By kill: which edge died, how many it threw out, and how long until they played again.
    pub kills: Vec<Kill>,
    /// By minute.
    pub minutes: Vec<Minute>,
    /// Minutes of which each value of an edge's line is the mean.
    pub edge_step_min: usize,
    /// By edge, those that carried most first.
    pub edges: Vec<EdgeLine>,
    /// Share of the watched time up to each round-trip time: milliseconds and share, ascending.
    pub times: Vec<(f64, f64)>,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// What the world's demand and capacities were multiplied by.
    pub scale: f64,
    /// Viewers who watched or wanted to.
    pub viewers: u64,
    /// Those of them who were there when counting began.
    pub present: u64,
    /// Those who came.
    pub came: u64,
    /// Times that somebody began to play who did not play before.
    pub joined: u64,
    /// Who went when they wanted to.
    pub left: u64,
    /// Who never got in.
    pub refused: u64,
    /// Who played, were thrown out and did not get in again.
    pub lost: u64,
    /// Times that somebody who played was moved while the edge lived.
    pub moved: u64,
    /// Share of those who watch that were moved each minute, failures and drains included.
    pub moved_per_min: f64,
    /// Times that a full edge sent somebody on.
    pub sent_on: u64,
    /// Times that schedulers or edges had no room.
    pub no_room: u64,
    /// Viewers who watch at a time, in the mean.
    pub watching: f64,
    /// Round-trip times of the watched time.
    pub rtt_ms_p50: f64,
    /// 95 % have at most this.
    pub rtt_ms_p95: f64,
    /// 99 % have at most this.
    pub rtt_ms_p99: f64,
    /// The mean above the nearest edge.
    pub extra_rtt_ms: f64,
    /// From the wish to the first picture, seconds.
    pub start_up_s_p50: f64,
    /// 95 % have at most this.
    pub start_up_s_p95: f64,
    /// Share of the watched time without a picture.
    pub rebuffer_ratio: f64,
    /// Seconds without a picture for each viewer, in the mean.
    pub rebuffer_s_per_viewer: f64,
    /// Seconds in which an edge was asked for more than it can send, of all edges.
    pub overload_edge_s: u64,
    /// 1e9 bytes to viewers.
    pub egress_gb: f64,
    /// 1e9 bytes that were asked for and could not be sent.
    pub unsent_gb: f64,
    /// 1e9 bytes that edges took in: each stream that is watched there once.
    pub relay_gb: f64,
    /// Streams that edges began to take in.
    pub fetched: u64,
    /// The use of the fullest edge over the mean use, in the mean.
    pub max_over_mean: f64,
}

/// An edge that died.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// Its name.
    pub edge: String,
    /// When, in seconds from the beginning.
    pub at_s: f64,
    /// Whom it threw out, but for those who wanted to go before they were in again.
    pub viewers: u64,
    /// Seconds until 99 of 100 played again; None when more were lost.
    pub again_s_p99: Option<f64>,
    /// Who did not get in again.
    pub lost: u64,
}

/// A minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Minute {
    /// Who watched, in the mean.
    pub watching: f64,
    /// What edges sent, Mbit/s in the mean.
    pub egress_mbps: f64,
    /// Who was moved.
    pub moved: u64,
    /// Seconds of overload, of all edges.
    pub overload_edge_s: u64,
    /// What was asked for and could not be sent, Mbit/s in the mean.
    pub unsent_mbps: f64,
}

/// An edge over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EdgeLine {
    /// Its name.
    pub edge: String,
    /// What it can send, as scaled.
    pub capacity_mbps: f64,
    /// What it sent, in means of so many minutes.
    pub steps_mbps: Vec<f32>,
}

/// What is counted while it plays.
pub(super) struct Tally {
    pub(super) figures: Figures,
    pub(super) kills: Vec<Thrown>,
    pub(super) counts: bool,
    minutes: Vec<Minute>,
    edges: Vec<Vec<f32>>,
    /// Watched milliseconds by half a millisecond of round-trip time.
    times: Vec<f64>,
    extra: f64,
    /// Starts by hundredths of a second.
    starts: Vec<u64>,
    watched_ms: u64,
    stalled_s: f64,
    begins_s: u32,
    uneven: f64,
    seconds: u32,
}

/// Those thrown out by a kill.
#[derive(Clone, Debug)]
pub(super) struct Thrown {
    pub(super) edge: usize,
    pub(super) at_ms: u32,
    /// How long they needed.
    pub(super) again_ms: Vec<u32>,
    pub(super) lost: u64,
}

impl Tally {
    pub(super) fn new(edges: usize, begins_s: u32) -> Self {
        Self {
            figures: Figures::default(),
            kills: Vec::new(),
            counts: false,
            minutes: Vec::new(),
            edges: vec![Vec::new(); edges],
            times: vec![0.0; TIMES],
            extra: 0.0,
            starts: vec![0; STARTS],
            watched_ms: 0,
            stalled_s: 0.0,
            begins_s,
            uneven: 0.0,
            seconds: 0,
        }
    }

    /// Somebody got the first picture so long after wanting it.
    pub(super) fn started(&mut self, after_s: f64) {
        if self.counts {
            self.starts[((after_s * 100.0) as usize).min(STARTS - 1)] += 1;
        }
    }

    /// Somebody watched at an edge for a while that far away, without a picture for some of it.
    pub(super) fn watched(&mut self, ms: u32, (rtt_ms, nearest_ms): (f32, f32), stalled_s: f32) {
        let (rtt_ms, ms) = (f64::from(rtt_ms), f64::from(ms));
        self.times[((rtt_ms * 2.0) as usize).min(TIMES - 1)] += ms;
        self.extra += ms * (rtt_ms - f64::from(nearest_ms)).max(0.0);
        self.watched_ms += ms as u64;
        self.stalled(stalled_s);
    }

    /// Somebody who plays had no picture.
    pub(super) fn stalled(&mut self, s: f32) {
        self.stalled_s += f64::from(s);
    }

    pub(super) fn moved(&mut self) {
        if !self.counts {
            return;
        }
        self.figures.moved += 1;
        if let Some(minute) = self.minutes.last_mut() {
            minute.moved += 1;
        }
    }

    /// A second of counting begins.
    pub(super) fn begin(&mut self, second: u32) {
        if (second - self.begins_s).is_multiple_of(60) {
            self.minutes.push(Minute::default());
            self.edges.iter_mut().for_each(|edge| edge.push(0.0));
        }
    }

    /// What an edge did in a second that is over.
    pub(super) fn edge(&mut self, edge: usize, second: Second) {
        let figures = &mut self.figures;
        figures.egress_gb += second.sent / 8e9;
        figures.unsent_gb += (second.asked - second.sent) / 8e9;
        figures.relay_gb += second.relayed / 8e9;
        figures.overload_edge_s += u64::from(second.overloaded);
        let Some(minute) = self.minutes.last_mut() else {
            return;
        };
        let mbps = second.sent / 60e6;
        minute.egress_mbps += mbps;
        minute.unsent_mbps += (second.asked - second.sent) / 60e6;
        minute.overload_edge_s += u64::from(second.overloaded);
        if let Some(last) = self.edges[edge].last_mut() {
            *last += mbps as f32;
        }
    }

    /// A second is over.
    pub(super) fn end(&mut self, watching: usize, loads: impl Iterator<Item = f64>) {
        let (mut most, mut sum, mut count) = (0.0_f64, 0.0, 0);
        for load in loads {
            (most, sum, count) = (most.max(load), sum + load, count + 1);
        }
        if sum > 0.0 {
            self.uneven += most * f64::from(count) / sum;
        }
        self.seconds += 1;
        self.figures.watching += watching as f64;
        if let Some(minute) = self.minutes.last_mut() {
            minute.watching += watching as f64 / 60.0;
        }
    }

    pub(super) fn finish(mut self, world: &World, scale: f64) -> Quality {
        let seconds = f64::from(self.seconds.max(1));
        let watched_ms: f64 = self.times.iter().sum();
        let viewers = self.figures.present + self.figures.came;
        let reached = |share: f64| {
            let mut sum = 0.0;
            let at = self.times.iter().position(|ms| {
                sum += ms;
                sum >= share * watched_ms
            });
            at.unwrap_or(0) as f64 / 2.0
        };
        let starts: u64 = self.starts.iter().sum();
        let started = |share: f64| {
            let mut sum = 0;
            let at = self.starts.iter().position(|count| {
                sum += count;
                sum as f64 >= share * starts as f64
            });
            at.unwrap_or(0) as f64 / 100.0
        };
        let figures = self.figures;
        let watching = figures.watching / seconds;
        self.figures = Figures {
            scale,
            viewers,
            watching,
            moved_per_min: figures.moved as f64 * 60.0 / (watching * seconds).max(1.0),
            rtt_ms_p50: reached(0.5),
            rtt_ms_p95: reached(0.95),
            rtt_ms_p99: reached(0.99),
            extra_rtt_ms: self.extra / watched_ms.max(1.0),
            start_up_s_p50: started(0.5),
            start_up_s_p95: started(0.95),
            rebuffer_ratio: self.stalled_s * 1000.0 / watched_ms.max(1.0),
            rebuffer_s_per_viewer: self.stalled_s / viewers.max(1) as f64,
            max_over_mean: self.uneven / seconds,
            ..figures
        };
        let edge_step_min = self.minutes.len().div_ceil(STEPS).max(1);
        Quality {
            edge_step_min,
            figures: self.figures,
            kills: self
                .kills
                .iter()
                .map(|it| it.told(world, self.begins_s))
                .collect(),
            minutes: self.minutes,
            edges: lines(world, &self.edges, edge_step_min),
            times: shares(&self.times),
        }
    }
}

impl Thrown {
    fn told(&self, world: &World, begins_s: u32) -> Kill {
        let mut again_ms = self.again_ms.clone();
        again_ms.sort_unstable();
        let viewers = again_ms.len() as u64 + self.lost;
        // The one in the ordered list up to whom 99 of 100 are.
        let at = (viewers * 99).div_ceil(100).max(1) as usize - 1;
        Kill {
            edge: world.edges[self.edge].name.clone(),
            at_s: f64::from(self.at_ms) / 1000.0 - f64::from(begins_s),
            viewers,
            again_s_p99: again_ms.get(at).map(|ms| f64::from(*ms) / 1000.0),
            lost: self.lost,
        }
    }
}

fn lines(world: &World, minutes: &[Vec<f32>], step_min: usize) -> Vec<EdgeLine> {
    let mean = |step: &[f32]| step.iter().sum::<f32>() / step.len() as f32;
    let line = |(edge, minutes): (&crate::world::Edge, &Vec<f32>)| EdgeLine {
        edge: edge.name.clone(),
        capacity_mbps: edge.capacity_mbps,
        steps_mbps: minutes.chunks(step_min).map(mean).collect(),
    };
    let mut lines: Vec<EdgeLine> = world.edges.iter().zip(minutes).map(line).collect();
    let sum = |line: &EdgeLine| line.steps_mbps.iter().sum::<f32>();
    lines.sort_by(|a, b| sum(b).total_cmp(&sum(a)).then_with(|| a.edge.cmp(&b.edge)));
    lines
}

/// Where the share has grown by enough for a picture.
fn shares(times: &[f64]) -> Vec<(f64, f64)> {
    let all: f64 = times.iter().sum();
    let (mut sum, mut told) = (0.0, 0.0);
    let mut shares = Vec::new();
    for (at, ms) in times.iter().enumerate().filter(|(_, ms)| **ms > 0.0) {
        sum += ms;
        let share = sum / all;
        if share >= told + FINE || sum >= all {
            told = share;
            shares.push((at as f64 / 2.0, share));
        }
    }
    shares
}

/// Steps of an edge's line, at most.
const STEPS: usize = 12;
/// How finely shares are told.
const FINE: f64 = 0.005;

/// Half milliseconds up to a second, and hundredths of a second up to a minute: what is more counts
/// as that.
const TIMES: usize = 2_000;
const STARTS: usize = 6_000;
