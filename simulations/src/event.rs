//! Sans-IO: the event engine: each viewer comes, is sent somewhere, watches, is moved and leaves.
//!
//! Where the fluid engine tells what policies cost, this one tells what viewers go through: how long
//! they wait for a picture, how often they lose it, how many are moved, what an edge that dies does
//! to them. A stretch of the world's demand, an hour or so, is played in milliseconds: decisions are
//! the scheduler's own `steer` over its own snapshots, plans its own, players behave as each
//! protocol's do. The same world, rule and seed give the same figures on any machine.
//! Not here: bills, and the ways that streams take between nodes.

mod agenda;
mod audience;
mod edge;
mod guide;
mod play;
mod tally;
mod trace;
mod viewer;

use scheduler::plan::billing::Tariff;

use crate::policies::weir::Weir;
use crate::policies::{Kind, Setting};
use crate::run::{self, Motion};
use crate::world::World;
use crate::world::scenario::{Players, Streams, Window};
use audience::Audience;
use guide::cluster::Cluster;
use guide::rule::Rule;
use guide::{Guide, Pulse};
use play::{Play, Who};

pub use play::Books;
pub use tally::{EdgeLine, Figures, Kill, Minute, Quality};
pub use trace::{Carried, Trace, Visit, Wire};
pub use viewer::Player;

/// What is played.
#[derive(Clone)]
pub struct Setup<'a> {
    /// Where, and what the operator asks for.
    pub setting: Setting<'a>,
    /// When, and what happens.
    pub window: &'a Window,
    /// With what players.
    pub players: &'a Players,
    /// How much streams are watched where.
    pub streams: &'a Streams,
    /// How fast viewers were moved before.
    pub motion: Motion,
    /// What is random follows from it.
    pub seed: u64,
    /// Who came to a real cluster, where those are to be played again and not drawn.
    pub trace: Option<&'a Trace<'a>>,
}

/// Whether a rule decides viewer by viewer.
pub fn plays(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::B0 | Kind::B1 | Kind::B2 | Kind::B2p | Kind::B5 | Kind::B8 | Kind::Weir | Kind::O1
    )
}

/// Plays a window of a world under a rule; `tell` hears of each second that is over, and what each
/// edge carried in it, and says whether to go on. None without an end, or for a rule that does not
/// decide viewer by viewer.
pub fn play(
    setup: &Setup<'_>,
    kind: Kind,
    tell: &mut dyn FnMut(u32, &[Carried]) -> bool,
) -> Option<(Quality, Books)> {
    let window = setup.window;
    let full = setup.setting.world;
    let times = setup
        .trace
        .map_or_else(|| Times::new(full, window), |it| Times::of(it));
    let audience = |world| {
        let about = (setup.players, setup.streams);
        Audience::new(world, about, (window, setup.motion.session_s), setup.seed)
    };
    let scale = match setup.trace {
        Some(_) => 1.0,
        None => scale(&audience(full), &times, window),
    };
    let (world, tariffs) = scaled(full, setup.setting.tariffs, scale);
    let setting = Setting {
        world: &world,
        tariffs: &tariffs,
        ..setup.setting.clone()
    };
    let pulse = |nth: u32| {
        let seed = setup.seed.wrapping_add(u64::from(nth) << 32);
        Pulse::new(world.edges.len(), window.heartbeat_loss, seed)
    };
    let telemetry_s = window.telemetry_s.max(1);
    let guide: Box<dyn Guide + '_> = if kind.plans() {
        let mut weir = kind.planner(&setting)?;
        before(&world, &mut weir, (setup.motion, times.first_s));
        let pulses = (0..window.schedulers.max(1)).map(pulse).collect();
        Box::new(Cluster::new(&setting, weir, pulses, (telemetry_s, times)))
    } else {
        Box::new(Rule::new(kind, &setting, pulse(0), telemetry_s)?)
    };
    let audience = audience(&world);
    let visits = setup.trace.map_or(&[][..], |it| it.visits);
    let wire = setup.trace.map(|it| it.wire).unwrap_or_default();
    let drawn = setup.trace.is_none().then_some(audience);
    let who = Who {
        drawn,
        visits,
        wire,
    };
    Play::new((&world, window), (who, guide), &times, scale).run(tell)
}

/// What is played of the world's time.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// The world's second that is played first.
    first_s: u32,
    /// Seconds that are played before anything is counted.
    warm_up_s: u32,
    /// All that are played.
    seconds: u32,
    /// Seconds of the world in one that is played.
    scale: f64,
    /// Unix milliseconds at the first.
    start_ms: u64,
}

impl Times {
    fn new(world: &World, window: &Window) -> Self {
        let step_s = world.time.step_s;
        let end_s = world.time.slots as u32 * step_s;
        let begins = world.time.billed_from as u32 * step_s
            + window.day * DAY_S
            + (window.hour * 3600.0) as u32;
        let warm_up_s = ((window.warm_up_min * 60.0) as u32).max(1);
        let seconds = ((window.minutes * 60.0) as u32).max(1) + warm_up_s;
        let first_s = begins
            .saturating_sub(warm_up_s)
            .min(end_s.saturating_sub(seconds));
        Self {
            first_s,
            warm_up_s,
            seconds: seconds.min(end_s - first_s),
            scale: 1.0,
            start_ms: (world.time.start_s * 1000) as u64 + u64::from(first_s) * 1000,
        }
    }

    fn of(trace: &Trace<'_>) -> Self {
        Self {
            first_s: trace.first_s,
            warm_up_s: 0,
            seconds: trace.seconds,
            scale: trace.scale,
            start_ms: trace.start_ms,
        }
    }

    /// The world's second.
    fn second(&self, now_ms: u32) -> u32 {
        self.first_s + (f64::from(now_ms) * self.scale / 1e3) as u32
    }

    /// The world's slot.
    fn slot(&self, world: &World, now_ms: u32) -> usize {
        let slot = (self.second(now_ms) / world.time.step_s) as usize;
        slot.min(world.time.slots - 1)
    }
}

/// The part of the world's viewers that the window asks for.
fn scale(audience: &Audience<'_>, times: &Times, window: &Window) -> f64 {
    if window.viewers <= 0.0 {
        return 1.0;
    }
    let regions = || 0..audience.regions();
    let counted = times.first_s + times.warm_up_s..times.first_s + times.seconds;
    let there = |second: u32| -> f64 {
        regions()
            .map(|it| audience.wanting(it, f64::from(second)))
            .sum()
    };
    let mut all = there(counted.start);
    for second in counted.clone() {
        let coming = regions().map(|it| audience.rate(it, second).max(0.0));
        all += coming.sum::<f64>();
    }
    if window.crowd_min >= 0.0 {
        all += window.crowd * there(counted.start + (window.crowd_min * 60.0) as u32);
    }
    window.viewers / all.max(1.0)
}

/// The same world for a part of its viewers.
fn scaled(world: &World, tariffs: &[Tariff], scale: f64) -> (World, Vec<Tariff>) {
    let mut world = world.clone();
    world
        .demand
        .iter_mut()
        .for_each(|mbps| *mbps = (f64::from(*mbps) * scale) as f32);
    for edge in &mut world.edges {
        edge.capacity_mbps *= scale;
        edge.ingress_mbps *= scale;
    }
    let tariff = |tariff: &Tariff| Tariff {
        commit_mbps: tariff.commit_mbps * scale,
        commit_gb: tariff.commit_gb * scale,
        ..*tariff
    };
    (world, tariffs.iter().map(tariff).collect())
}

/// Lets the planner decide over the billed slots before the window, so that it knows its bills.
fn before(world: &World, weir: &mut Weir, (motion, first_s): (Motion, u32)) {
    let slot = (first_s / world.time.step_s) as usize;
    if slot > world.time.billed_from {
        run::run(world, weir, motion, &mut |over| over + 1 < slot);
    }
}

fn bitrate_bps(stream: &crate::world::Stream) -> u64 {
    ((stream.bitrate_kbps * 1e3) as u64).max(1)
}

const DAY_S: u32 = 86_400;

#[cfg(test)]
mod tests;
