//! Sans-IO: an edge with its viewers: what they ask for, what it can send, and what they miss.
//!
//! While viewers ask for more than the edge can send, what there is is shared max-min: those with
//! small streams get all, the others equal parts. What is missing drains players' buffers. A time
//! of overload without a pause is an episode; buffers are full again before the next. What a viewer
//! misses follows from when it came and went, so that nobody is looked at in between.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::viewer::{Player, Viewer};

/// An edge.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    /// What it can send, bits per second.
    pub(super) capacity_bps: u64,
    /// Whether it runs.
    pub(super) alive: bool,
    /// Whether it is drained.
    pub(super) draining: bool,
    /// Its viewers, by their places in the table.
    pub(super) members: Vec<u32>,
    /// What they ask for, bits per second.
    pub(super) demand_bps: u64,
    /// By stream, how many are counted as watching it.
    pub(super) streams: Vec<u32>,
    /// By region, how many are counted and what is asked for.
    pub(super) regions: Vec<(u32, u64)>,
    /// By stream, how it is taken in.
    held: Vec<Held>,
    /// Streams without viewers: until when they are kept coming, and their bits per second.
    lingering: BinaryHeap<Reverse<(u32, u32, u64)>>,
    /// Sessions of HLS whose viewers went: until when they count, with their stream's bits per
    /// second.
    silent: BinaryHeap<Reverse<(u32, u32, u16, u64)>>,
    /// What it takes in from other nodes, bits per second: each of its streams once.
    pub(super) relay_bps: u64,
    /// Since when it has had much room, in milliseconds.
    pub(super) room_since_ms: Option<u32>,
    /// What was asked for so far, in bits per second times milliseconds.
    pub(super) asked: u64,
    /// The same of what was taken in.
    relayed: u64,
    now_ms: u32,
    /// What of `asked` and `relayed` is in past seconds.
    ticked: (u64, u64),
    classes: Vec<Class>,
    episode: u32,
    overloaded: bool,
}

/// How a stream comes to an edge.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Until when it is kept, in milliseconds: 0 when it is not there.
    until_ms: u32,
    /// Since when it comes.
    since_ms: u32,
    /// Whether its past was brought, too.
    past: bool,
}

/// What a viewer takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    /// The place of `bps` among all that there are.
    pub(super) class: usize,
    /// Bits per second that it is sent.
    pub(super) bps: u64,
    /// Bits per second of the stream.
    pub(super) stream_bps: u64,
    /// Bits per second that its edge takes in for it.
    pub(super) relay_bps: u64,
    /// Milliseconds of the stream that it is sent at once when it comes.
    pub(super) start_ms: u64,
}

/// Viewers of one bit rate.
#[derive(Clone, Debug)]
struct Class {
    bitrate_bps: u64,
    viewers: u32,
    /// What they missed in the episode that runs, seconds.
    missed_s: f32,
    /// The same of past episodes.
    past_s: Vec<f32>,
    /// By past episode and buffer, seconds without a picture so far.
    stalled_s: Vec<[f32; Player::ALL.len()]>,
}

/// What a second came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Second {
    /// Bits that were asked for.
    pub(super) asked: f64,
    /// Bits that were sent.
    pub(super) sent: f64,
    /// Bits that were taken in.
    pub(super) relayed: f64,
    /// Whether more was asked for than could be sent.
    pub(super) overloaded: bool,
}

impl Edge {
    /// One that nobody watches; `bitrates` are those that streams have, ascending.
    pub(super) fn new(
        capacity_bps: u64,
        (streams, regions): (usize, usize),
        bitrates: &[u64],
    ) -> Self {
        let class = |bitrate_bps: &u64| Class {
            bitrate_bps: *bitrate_bps,
            viewers: 0,
            missed_s: 0.0,
            past_s: Vec::new(),
            stalled_s: Vec::new(),
        };
        Self {
            capacity_bps,
            alive: true,
            draining: false,
            members: Vec::new(),
            demand_bps: 0,
            streams: vec![0; streams],
            held: vec![Held::default(); streams],
            lingering: BinaryHeap::new(),
            silent: BinaryHeap::new(),
            regions: vec![(0, 0); regions],
            relay_bps: 0,
            room_since_ms: Some(0),
            asked: 0,
            relayed: 0,
            now_ms: 0,
            ticked: (0, 0),
            classes: bitrates.iter().map(class).collect(),
            episode: 0,
            overloaded: false,
        }
    }

    /// Whether one more fits below that share of the capacity.
    pub(super) fn has_room(&self, bitrate_bps: u64, share: f64) -> bool {
        (self.demand_bps + bitrate_bps) as f64 <= share * self.capacity_bps as f64
    }

    /// Share of its capacity that is asked for.
    pub(super) fn load(&self) -> f64 {
        self.demand_bps as f64 / self.capacity_bps.max(1) as f64
    }

    /// The share of its bit rate that a new viewer would get.
    pub(super) fn share(&self, bitrate_bps: u64) -> f64 {
        let level = self.level();
        (level / bitrate_bps as f64).min(1.0)
    }

    /// Takes a viewer in; whether it had to fetch the stream.
    pub(super) fn enter(&mut self, now_ms: u32, at: u32, viewer: &mut Viewer, rate: Rate) -> bool {
        self.advance(now_ms);
        viewer.seat = self.members.len() as u32;
        viewer.since_ms = now_ms;
        viewer.episode = self.episode;
        self.members.push(at);
        self.demand_bps += rate.bps;
        let region = &mut self.regions[usize::from(viewer.region)];
        (region.0, region.1) = (region.0 + 1, region.1 + rate.bps);
        let class = &mut self.classes[rate.class];
        class.viewers += 1;
        viewer.missed_s = class.missed_s;
        self.streams[viewer.stream as usize] += 1;
        let held = &mut self.held[viewer.stream as usize];
        let cold = std::mem::replace(&mut held.until_ms, u32::MAX) == 0;
        if cold {
            (held.since_ms, held.past) = (now_ms, false);
            self.relay_bps += rate.relay_bps;
        }
        if viewer.player.asks() && !std::mem::replace(&mut held.past, true) {
            let missing_ms = PAST_MS.saturating_sub(now_ms - held.since_ms);
            self.relayed += rate.relay_bps * u64::from(missing_ms);
        }
        cold
    }

    /// Who counts as watching: sessions that are silent, too.
    pub(super) fn counted(&self) -> u32 {
        (self.members.len() + self.silent.len()) as u32
    }

    /// Sends a newcomer what it is sent at once; gives it in bits per second times milliseconds.
    pub(super) fn start(&mut self, rate: Rate) -> u64 {
        let at_once = rate.bps * rate.start_ms;
        self.asked += at_once;
        at_once
    }

    /// It takes nothing in any more.
    pub(super) fn die(&mut self) {
        self.alive = false;
        self.relay_bps = 0;
        self.held.fill(Held::default());
        self.streams.fill(0);
        self.regions.fill((0, 0));
        self.lingering.clear();
        self.silent.clear();
    }

    /// Lets a viewer go; who has its seat now, and the seconds that it had no picture.
    pub(super) fn leave(&mut self, now_ms: u32, viewer: &Viewer, rate: Rate) -> (Option<u32>, f32) {
        self.advance(now_ms);
        self.members.swap_remove(viewer.seat as usize);
        self.demand_bps -= rate.bps;
        self.regions[usize::from(viewer.region)].1 -= rate.bps;
        let stalled_s = self.stalled_s(viewer, rate.class);
        self.classes[rate.class].viewers -= 1;
        let of = (viewer.stream, viewer.region, rate.relay_bps);
        if viewer.player.asks() {
            let silent = (now_ms + SILENT_MS, of.0, of.1, of.2);
            self.silent.push(Reverse(silent));
        } else {
            self.uncount(now_ms, of);
        }
        (self.members.get(viewer.seat as usize).copied(), stalled_s)
    }

    /// What it had to do without so far.
    fn stalled_s(&self, viewer: &Viewer, class: usize) -> f32 {
        let class = &self.classes[class];
        let buffer_s = viewer.player.buffer_s();
        let beyond = |missed_s: f32| (missed_s - buffer_s).max(0.0);
        if viewer.episode == self.episode {
            return beyond(class.missed_s - viewer.missed_s);
        }
        let first = viewer.episode as usize;
        let last = self.episode as usize - 1;
        let of = |episode: usize| class.stalled_s[episode][viewer.player as usize];
        beyond(class.past_s[first] - viewer.missed_s) + of(last) - of(first)
            + beyond(class.missed_s)
    }

    /// Somebody no longer counts as watching.
    fn uncount(&mut self, now_ms: u32, (stream, region, relay_bps): (u32, u16, u64)) {
        self.regions[usize::from(region)].0 -= 1;
        let watched = &mut self.streams[stream as usize];
        *watched -= 1;
        if *watched == 0 {
            let until_ms = now_ms + LINGER_MS;
            self.held[stream as usize].until_ms = until_ms;
            self.lingering.push(Reverse((until_ms, stream, relay_bps)));
        }
    }

    /// Lets sessions go that were silent for long, and streams that nobody came for.
    fn let_go(&mut self, now_ms: u32) {
        while let Some(&Reverse((until_ms, stream, region, relay_bps))) = self.silent.peek()
            && until_ms <= now_ms
        {
            self.silent.pop();
            self.uncount(until_ms, (stream, region, relay_bps));
        }
        while let Some(&Reverse((until_ms, stream, relay_bps))) = self.lingering.peek()
            && until_ms <= now_ms
        {
            self.lingering.pop();
            let held = &mut self.held[stream as usize];
            if held.until_ms == until_ms {
                held.until_ms = 0;
                self.relay_bps -= relay_bps;
            }
        }
    }

    fn advance(&mut self, now_ms: u32) {
        let passed = u64::from(now_ms - self.now_ms);
        self.asked += self.demand_bps * passed;
        self.relayed += self.relay_bps * passed;
        self.now_ms = now_ms;
    }

    /// Ends a second.
    pub(super) fn tick(&mut self, now_ms: u32) -> Second {
        self.advance(now_ms);
        self.let_go(now_ms);
        let asked = (self.asked - self.ticked.0) as f64 / 1000.0;
        let relayed = (self.relayed - self.ticked.1) as f64 / 1000.0;
        self.ticked = (self.asked, self.relayed);
        let sent = asked.min(self.capacity_bps as f64);
        let overloaded = self.demand_bps > self.capacity_bps;
        if overloaded {
            let level = self.level();
            for class in &mut self.classes {
                class.missed_s += (1.0 - level / class.bitrate_bps as f64).max(0.0) as f32;
            }
        } else if self.overloaded {
            self.recover();
        }
        self.overloaded = overloaded;
        let largest = self.classes.last().map_or(0, |class| class.bitrate_bps);
        if self.alive && self.has_room(largest, MUCH_ROOM) {
            self.room_since_ms.get_or_insert(now_ms);
        } else {
            self.room_since_ms = None;
        }
        Second {
            asked,
            sent,
            relayed,
            overloaded: asked > self.capacity_bps as f64,
        }
    }

    /// Ends an episode.
    fn recover(&mut self) {
        for class in &mut self.classes {
            let mut stalled_s = class.stalled_s.last().copied().unwrap_or_default();
            for (sum, player) in stalled_s.iter_mut().zip(Player::ALL) {
                *sum += (class.missed_s - player.buffer_s()).max(0.0);
            }
            class.stalled_s.push(stalled_s);
            class.past_s.push(class.missed_s);
            class.missed_s = 0.0;
        }
        self.episode += 1;
    }

    /// The bit rate up to which everybody gets all: infinite where there is enough.
    fn level(&self) -> f64 {
        if self.demand_bps <= self.capacity_bps {
            return f64::INFINITY;
        }
        let mut left = self.capacity_bps as f64;
        let mut viewers: u32 = self.classes.iter().map(|it| it.viewers).sum();
        for class in &self.classes {
            let equal = left / f64::from(viewers.max(1));
            if class.bitrate_bps as f64 > equal {
                return equal;
            }
            left -= class.bitrate_bps as f64 * f64::from(class.viewers);
            viewers -= class.viewers;
        }
        f64::INFINITY
    }
}

/// How long a stream is kept coming after its last viewer left: `[edge] linger`.
const LINGER_MS: u32 = 10_000;
/// How long an edge holds a session of HLS that is silent to be watching.
const SILENT_MS: u32 = 20_000;
/// The past of a stream that an edge brings for who plays it by HLS: `[edge.hls] window`.
const PAST_MS: u32 = 60_000;

/// With the largest viewer more below this share of its capacity an edge plainly has room, what
/// schedulers know late included.
const MUCH_ROOM: f64 = 0.9;

#[cfg(test)]
mod tests;
