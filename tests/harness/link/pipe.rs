//! Sans-IO: one direction of a link: a queue before a bottleneck, loss, delay, and packets that come late.
//!
//! A packet waits in a first-in-first-out queue of bounded bytes (what finds no room is dropped at its
//! tail), goes out at the bottleneck's rate, is then perhaps lost, and travels. Order is kept, save for
//! the packets that `late` holds back. Loss and travel are str0m-netem's; the queue is ours, because
//! netem's counts travelling bytes as queued and cannot follow a rate that changes, and so is `late`,
//! because netem's reordering swaps neighbours only.

use super::trace::Trace;
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use str0m_netem::{
    GilbertElliot, Input, LossModel, Netem, NetemConfig, Output, Probability, RandomLoss,
};

/// What one direction of a link does to packets. The default does nothing.
#[derive(Clone, Debug)]
pub struct Spec {
    pub rate: Rate,
    /// Bytes that may wait for the bottleneck, the packet going out among them.
    pub queue_bytes: usize,
    /// One way. A trace that knows its round trip puts half of that in place of this.
    pub delay: Duration,
    /// Delays differ by up to so much each way; order is kept.
    pub jitter: Duration,
    /// A trace that knows its loss puts that in place of this.
    pub loss: Loss,
    pub late: Late,
    pub seed: u64,
}

#[derive(Clone, Debug)]
pub enum Rate {
    Unlimited,
    Bps(u64),
    /// Round and round; the first packet meets it at `from`.
    Trace {
        trace: Arc<Trace>,
        from: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    None,
    /// Each packet for itself; a share from 0 to 1.
    Random(f32),
    /// Gilbert-Elliott: all packets of a burst are lost, `length` on average, `share` of all.
    Bursts {
        share: f32,
        length: f32,
    },
}

/// A share of packets (0 to 1) comes so much later, past those sent after them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Late {
    pub share: f64,
    pub by: Duration,
}

/// What became of the packets so far; those in none but `offered` are under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub offered: u64,
    pub offered_bytes: u64,
    /// Found no room in the queue.
    pub overflowed: u64,
    pub lost: u64,
    pub delivered: u64,
    pub delivered_bytes: u64,
}

pub struct Pipe {
    spec: Spec,
    /// When the first packet came: a trace begins then.
    start: Option<Instant>,
    /// With the moment at which the last bit leaves the bottleneck.
    queue: VecDeque<(Instant, Bytes)>,
    queued: usize,
    busy_until: Option<Instant>,
    travel: Netem<Bytes>,
    /// The second of the trace with which `travel` was last told delay and loss.
    second: u64,
    held: VecDeque<(Instant, Bytes)>,
    rng: StdRng,
    counts: Counts,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            rate: Rate::Unlimited,
            queue_bytes: 1 << 20,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Loss::None,
            late: Late::default(),
            seed: 1,
        }
    }
}

impl Spec {
    /// A queue that a bottleneck of this rate empties in `time`.
    pub fn bottleneck(mut self, rate_bps: u64, time: Duration) -> Self {
        self.rate = Rate::Bps(rate_bps);
        self.queue_bytes = (rate_bps as f64 / 8.0 * time.as_secs_f64()) as usize;
        self
    }
}

impl Pipe {
    pub fn new(spec: Spec) -> Self {
        let first = match &spec.rate {
            Rate::Trace { from, .. } => from.as_secs(),
            _ => 0,
        };
        Self {
            second: first,
            travel: Netem::new(travel(&spec, first)),
            rng: StdRng::seed_from_u64(spec.seed),
            spec,
            start: None,
            queue: VecDeque::new(),
            queued: 0,
            busy_until: None,
            held: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// A packet comes in. Time never steps back between calls.
    pub fn push(&mut self, now: Instant, packet: Bytes) {
        self.advance(now);
        self.counts.offered += 1;
        self.counts.offered_bytes += packet.len() as u64;
        let starts = self.busy_until.map_or(now, |until| until.max(now));
        let start = *self.start.get_or_insert(now);
        let leaves = match &self.spec.rate {
            Rate::Unlimited => return self.depart(now, packet),
            // One packet always finds room: a queue too small for any would be a cut wire.
            _ if self.queued > 0 && self.queued + packet.len() > self.spec.queue_bytes => {
                self.counts.overflowed += 1;
                return;
            }
            Rate::Bps(bps) => {
                starts + Duration::from_secs_f64(packet.len() as f64 * 8.0 / *bps as f64)
            }
            Rate::Trace { trace, from } => {
                let first_bit = starts - start + *from;
                starts + (trace.finish(first_bit, packet.len()) - first_bit)
            }
        };
        self.busy_until = Some(leaves);
        self.queued += packet.len();
        self.queue.push_back((leaves, packet));
    }

    /// A packet that has arrived by now, if there is one.
    pub fn pop(&mut self, now: Instant) -> Option<Bytes> {
        self.advance(now);
        let packet = self.arrived(now)?;
        self.counts.delivered += 1;
        self.counts.delivered_bytes += packet.len() as u64;
        Some(packet)
    }

    /// When something happens next; `None` while nothing is under way.
    pub fn next_at(&self) -> Option<Instant> {
        let leaves = self.queue.front().map(|(at, _)| *at);
        let arrives = (!self.travel.is_empty()).then(|| self.travel.poll_timeout());
        let released = self.held.front().map(|(at, _)| *at);
        [leaves, arrives, released].into_iter().flatten().min()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn advance(&mut self, now: Instant) {
        while let Some((at, packet)) = self.queue.pop_front_if(|(at, _)| *at <= now) {
            self.queued -= packet.len();
            self.depart(at, packet);
        }
    }

    /// The packet is through the bottleneck: it is lost or travels.
    fn depart(&mut self, at: Instant, packet: Bytes) {
        if let (Rate::Trace { trace, from }, Some(start)) = (&self.spec.rate, self.start) {
            let time = at - start + *from;
            // netem forgets where in a burst it is: told only what is new.
            if trace.travel_at(time) != trace.travel_at(Duration::from_secs(self.second)) {
                self.second = time.as_secs();
                self.travel.set_config(travel(&self.spec, self.second));
            }
        }
        let before = self.travel.queue_len();
        self.travel.handle_input(Input::Packet(at, packet));
        if self.travel.queue_len() == before {
            self.counts.lost += 1;
        }
    }

    fn arrived(&mut self, now: Instant) -> Option<Bytes> {
        if let Some((_, packet)) = self.held.pop_front_if(|(at, _)| *at <= now) {
            return Some(packet);
        }
        self.travel.handle_input(Input::Timeout(now));
        while let Some(Output::Packet(packet)) = self.travel.poll_output() {
            let late = self.spec.late;
            if late.share == 0.0 || !self.rng.random_bool(late.share) {
                return Some(packet);
            }
            self.held.push_back((now + late.by, packet));
        }
        None
    }
}

/// netem's part of a spec at a second of its trace: loss and travel.
fn travel(spec: &Spec, second: u64) -> NetemConfig {
    let (mut delay, mut loss) = (spec.delay, spec.loss);
    if let Rate::Trace { trace, .. } = &spec.rate {
        let (rtt, share) = trace.travel_at(Duration::from_secs(second));
        delay = rtt.map_or(delay, |rtt| rtt / 2);
        loss = share.map_or(loss, Loss::Random);
    }
    let loss: LossModel = match loss {
        Loss::None => LossModel::None,
        Loss::Random(share) => RandomLoss::new(Probability::new(share)).into(),
        // In a stationary chain the share in the bad state is bad / (good + bad).
        Loss::Bursts { share, length } => GilbertElliot::new()
            .bad_duration(length)
            .good_duration(length * (1.0 - share) / share)
            .into(),
    };
    NetemConfig::new()
        .latency(delay)
        .jitter(spec.jitter)
        .loss(loss)
        // netem begins its draws anew with each configuration: not with the same ones.
        .seed(spec.seed.wrapping_add(second))
}
