//! Sans-IO: congestion control for the links between nodes, made for live groups over lossy paths.
//!
//! The window follows a model of the path instead of its losses: the highest delivery rate of the
//! last rounds times the lowest round trip, plus an allowance that keeps a small
//! queue and so finds a rate that has risen. Loss alone changes nothing up to a sixth of the
//! packets; loss that comes with a long queue forgets what the path could do before. Every few
//! seconds the queue is drained, which shows the round trip again, and whether someone else fills
//! the queue: beside such a rival the window grows and halves like TCP's, or the rival would take
//! all. Rounds in which the application had too little to send never lower the estimate, so a key
//! frame leaves at what the path can do and not at the stream's average.
//!
//! After draft-ietf-ccwg-bbr (rate samples, maximum and minimum filters, application-limited
//! samples, drained queues), RFC 9406 (leaving the start by delay) and Copa's competitive mode
//! (Arun and Balakrishnan, NSDI 2018). quinn paces at 1.25 windows per smoothed round trip, so the
//! window is all there is to say. Where a link polices without a queue, up to a sixth of a bulk
//! transfer is lost: without a queue such loss looks random.

mod path;

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::TransportConfig;
use quinn::congestion::{self, ControllerFactory};
use quinn_proto::RttEstimator;

use path::Path;

/// An endpoint's settings with a controller of ours for each path.
pub fn controlled(mut settings: TransportConfig) -> TransportConfig {
    settings.congestion_controller_factory(Arc::new(Factory));
    settings
}

struct Factory;

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn congestion::Controller> {
        Box::new(Controller::new(now, mtu))
    }
}

/// What one path may have under way.
#[derive(Clone, Debug)]
struct Controller {
    mtu: f64,
    /// In bytes, as all amounts here are.
    window: f64,
    phase: Phase,
    path: Path,
    batch: Batch,
    round: Round,
    /// The round before had too little to send at times.
    was_limited: bool,
    /// When the queue was last seen empty.
    drained: Instant,
    /// The window beside a rival, zero without one.
    rival: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// The window grows with what is delivered, until the queue does; so many rounds brought no
    /// more than the one before, and so many batches in a row came through a queue.
    Start { flat: u8, queued: u8 },
    /// The window is the model's.
    Cruise,
    /// The queue is let run empty for so many more rounds.
    Drain { rounds: u8 },
}

/// The acknowledgements that came at once.
#[derive(Clone, Debug)]
struct Batch {
    bytes: f64,
    /// The shortest round trip among them, in seconds.
    rtt: f64,
    /// When the newest was sent.
    newest: Option<Instant>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            bytes: 0.0,
            rtt: f64::INFINITY,
            newest: None,
        }
    }
}

/// From one acknowledgement to that of the first packet sent after it, or until that is overdue.
#[derive(Clone, Debug)]
struct Round {
    start: Instant,
    delivered: f64,
    /// The shortest, in seconds.
    rtt: f64,
    /// At some time too little was under way to learn the path's rate.
    limited: bool,
    /// Something was lost while the queue was long.
    pressed: bool,
}

impl Round {
    fn new(start: Instant) -> Self {
        Self {
            start,
            delivered: 0.0,
            rtt: f64::INFINITY,
            limited: false,
            pressed: false,
        }
    }

    /// Bytes per second.
    fn rate(&self, now: Instant) -> f64 {
        self.delivered / (now - self.start).as_secs_f64().max(1e-6)
    }
}

impl Controller {
    fn new(now: Instant, mtu: u16) -> Self {
        Self {
            mtu: mtu.into(),
            window: INITIAL_WINDOW,
            phase: Phase::Start { flat: 0, queued: 0 },
            path: Path::new(now),
            batch: Batch::default(),
            round: Round::new(now),
            was_limited: true,
            drained: now,
            rival: 0.0,
        }
    }

    fn acked(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.batch.bytes += bytes as f64;
        self.batch.rtt = self.batch.rtt.min((now - sent).as_secs_f64());
        self.batch.newest = self.batch.newest.max(Some(sent));
    }

    fn end_batch(&mut self, now: Instant, in_flight: f64, app_limited: bool) {
        let batch = std::mem::take(&mut self.batch);
        let Some(newest) = batch.newest else { return };
        self.path.see_rtt(now, batch.rtt);
        self.round.delivered += batch.bytes;
        self.round.rtt = self.round.rtt.min(batch.rtt);
        self.round.limited |= app_limited || in_flight < self.window / 2.0;
        if self.rival == 0.0 && self.path.queue(batch.rtt) < EMPTY {
            self.drained = now;
        }
        if let Phase::Start { flat, queued } = self.phase {
            self.phase = self.start(now, (flat, queued), (in_flight, batch.bytes));
        }
        let long = (now - self.round.start).as_secs_f64();
        if newest >= self.round.start || self.path.queue(long) > FOREIGN_QUEUE {
            self.end_round(now);
        }
    }

    /// One batch of the start: by its end the window has grown or the phase is over.
    fn start(
        &mut self,
        now: Instant,
        (flat, queued): (u8, u8),
        (rest, acked): (f64, f64),
    ) -> Phase {
        if self.path.queue(self.path.rtt) < START_QUEUE {
            // quinn paces by the window: one that is a few times what is under way lets a frame
            // leave in a fraction of a round trip.
            if (rest + acked) * UNUSED >= self.window {
                self.window = (self.window + acked * START_GROWTH).min(MAX_WINDOW);
            }
            return Phase::Start { flat, queued: 0 };
        }
        if queued < START_BATCHES || self.round.limited || self.was_limited {
            let queued = queued.saturating_add(1);
            return Phase::Start { flat, queued };
        }
        if (now - self.round.start).as_secs_f64() > self.path.base() / 4.0 {
            self.path.see_rate(self.round.rate(now), true);
        }
        self.window = self.steady_window();
        Phase::Cruise
    }

    fn end_round(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Round::new(now));
        let was_limited = std::mem::replace(&mut self.was_limited, round.limited);
        let full = !round.limited && !was_limited;
        let rate = round.rate(now);
        let risen = rate > self.path.rate() * GROWING;
        let slower = self.rival == 0.0 && self.path.queue(round.rtt) > FOREIGN_QUEUE;
        if full && (round.pressed || slower) {
            self.path.rates.clear();
        }
        self.path.see_rate(rate, full);
        if round.limited {
            self.drained = now;
        }
        self.phase = match self.phase {
            Phase::Start { queued, .. } if !full || risen => Phase::Start { flat: 0, queued },
            Phase::Start { flat, .. } if flat + 1 >= FLAT_ROUNDS => Phase::Cruise,
            Phase::Start { flat, queued } => Phase::Start {
                flat: flat + 1,
                queued,
            },
            Phase::Cruise if full => self.cruise(now, &round),
            Phase::Cruise => Phase::Cruise,
            Phase::Drain { rounds: 1 } => self.end_drain(now, &round),
            Phase::Drain { rounds } => Phase::Drain { rounds: rounds - 1 },
        };
        if !matches!(self.phase, Phase::Start { .. }) {
            self.window = self.steady_window();
        }
    }

    /// One round with enough to send, after the start.
    fn cruise(&mut self, now: Instant, round: &Round) -> Phase {
        let mut every = DRAIN_EVERY;
        if self.rival > 0.0 {
            every = RIVAL_DRAIN_EVERY;
            let next = match round.pressed {
                true => self.rival * RIVAL_CUT,
                false => self.rival + self.mtu,
            };
            self.rival = next.min(self.path.content() * RIVAL_CAP);
        }
        if now - self.drained <= every {
            return Phase::Cruise;
        }
        Phase::Drain {
            rounds: DRAIN_ROUNDS,
        }
    }

    fn end_drain(&mut self, now: Instant, round: &Round) -> Phase {
        self.drained = now;
        self.rival = match self.path.queue(round.rtt) > RIVAL_QUEUE {
            true => self.rival.max(self.path.budget()),
            false => 0.0,
        };
        Phase::Cruise
    }

    fn steady_window(&self) -> f64 {
        let window = match self.phase {
            Phase::Drain { .. } => self.path.content() * DRAINED,
            _ => (self.path.budget() + EXTRA_PACKETS * self.mtu).max(self.rival),
        };
        window.clamp(MIN_WINDOW, MAX_WINDOW)
    }

    fn lost(&mut self, now: Instant, persistent: bool, bytes: u64) {
        if persistent {
            *self = Self {
                window: MIN_WINDOW,
                ..Self::new(now, self.mtu as u16)
            };
            return;
        }
        // Marked, not lost, is a queue by the router's own word.
        self.round.pressed |= bytes == 0 || self.path.queue(self.path.rtt) > LONG_QUEUE;
    }
}

impl congestion::Controller for Controller {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _: bool, _: &RttEstimator) {
        self.acked(now, sent, bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _: Option<u64>) {
        self.end_batch(now, in_flight as f64, app_limited);
    }

    fn on_congestion_event(&mut self, now: Instant, _: Instant, persistent: bool, lost: u64) {
        self.lost(now, persistent, lost);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = mtu.into();
    }

    fn window(&self) -> u64 {
        self.window as u64
    }

    fn initial_window(&self) -> u64 {
        INITIAL_WINDOW as u64
    }

    fn clone_box(&self) -> Box<dyn congestion::Controller> {
        Box::new(self.clone())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What one connection may have under way at most, as its flow control says too.
const MAX_WINDOW: f64 = (16 << 20) as f64;

/// Eleven packets, what a new connection starts with elsewhere (RFC 6928): a path that carries live
/// video carries this, and a busy machine that answers late is not starved.
const MIN_WINDOW: f64 = (16 << 10) as f64;

/// 13 Mbit/s at 50 ms, which a path for live video carries. The start then grows to what it needs.
const INITIAL_WINDOW: f64 = (64 << 10) as f64;

/// The window grows by half in each round of the start: doubling, which is seen a round late, lost
/// 4 % of the first two seconds in a queue of half the bandwidth-delay product, this 1.2 %.
const START_GROWTH: f64 = 0.5;

/// A window this many times what is under way does not grow.
const UNUSED: f64 = 4.0;

/// In allowances: the queue that ends the start, a tenth of the round trip (RFC 9406 has an eighth).
const START_QUEUE: f64 = 0.6;

/// So many batches in a row through such a queue are no accident (RFC 9406, N_RTT_SAMPLE).
const START_BATCHES: u8 = 8;

/// A start that gains less than this in three rounds is over (draft-ietf-ccwg-bbr, 5.3.1.2).
const GROWING: f64 = 1.25;
const FLAT_ROUNDS: u8 = 3;

/// Beside the model's window; it is what brings two of our flows to equal shares.
const EXTRA_PACKETS: f64 = 4.0;

/// In allowances: less than this counts as no queue.
const EMPTY: f64 = 0.25;

/// In allowances: the queue that makes a loss mean congestion; ours alone is one.
const LONG_QUEUE: f64 = 1.75;

/// In allowances: a queue so long, twice the shortest round trip, through a whole round says that
/// the path has become slower. A round does not wait longer for its end.
const FOREIGN_QUEUE: f64 = 5.0;

/// In allowances: what is left in the queue after we drained it is someone else's.
const RIVAL_QUEUE: f64 = 1.25;

/// How often the queue is drained; more seldom beside a rival, who takes the room.
const DRAIN_EVERY: Duration = Duration::from_secs(2);
const RIVAL_DRAIN_EVERY: Duration = Duration::from_secs(4);

/// One round empties the queue, the second shows it.
const DRAIN_ROUNDS: u8 = 2;

/// Of what is under way without a queue.
const DRAINED: f64 = 0.75;

/// What a loss leaves of the window beside a rival, as CUBIC's (RFC 9438 section 4.6).
const RIVAL_CUT: f64 = 0.7;

/// Times what is under way without a queue: how far the window beside a rival may grow.
const RIVAL_CAP: f64 = 2.5;

#[cfg(test)]
mod tests;
