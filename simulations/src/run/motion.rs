//! Sans-IO: how fast viewers follow a decision.
//!
//! Sessions end and others begin: newcomers go where the decision says. Who watches already stays
//! where it is until it is moved, and how many can be moved in a slot depends on the player.

use super::{Flow, Known};
use crate::world::World;

/// How fast viewers can be moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Motion {
    /// The mean session, seconds.
    pub session_s: f64,
    /// Share of those who watch already that can be moved within a slot; 1 moves all at once.
    pub movable: f64,
}

impl Motion {
    /// All traffic moves at once, as the reference worlds have it.
    pub const AT_ONCE: Self = Self {
        session_s: 1200.0,
        movable: 1.0,
    };

    /// Of a mix of players, as shares: those that follow content steering (HLS) or an in-band
    /// message (FLV) within a slot, and those that stay until their session ends.
    pub fn of_players(session_s: f64, steerable: f64) -> Self {
        Self {
            session_s,
            movable: steerable.clamp(0.0, 1.0),
        }
    }

    /// Share of viewers who stay through a slot.
    fn staying(&self, step_s: u32) -> f64 {
        libm::exp(-f64::from(step_s) / self.session_s.max(1.0))
    }
}

/// Where viewers are now.
pub(super) struct Crowd {
    motion: Motion,
    /// By path, Mbit/s at the end of the slot before.
    at: Vec<f64>,
    began: bool,
}

impl Crowd {
    pub(super) fn new(world: &World, motion: Motion) -> Self {
        Self {
            motion,
            at: vec![0.0; world.paths.len()],
            began: false,
        }
    }

    /// The traffic of a slot, given where it should go; shares of dead edges are given to the
    /// region's others.
    pub(super) fn follow(&self, known: &Known<'_>, may: &[bool], target: &mut [f64]) -> Flow {
        let world = known.world;
        let mut flow = Flow {
            mbps: vec![0.0; target.len()],
            new: vec![0.0; target.len()],
            ..Flow::default()
        };
        let stays = self.motion.staying(world.time.step_s);
        for (region, demand) in world.demand(known.slot).iter().enumerate() {
            let demand = f64::from(*demand);
            let range = world.range(region);
            if !alive(&may[range.clone()], &mut target[range.clone()]) {
                flow.lost += demand;
                continue;
            }
            let there: f64 = range.clone().map(|at| self.at[at]).sum();
            // Who stays, scaled down when demand shrinks by more than sessions that end.
            let staying = (stays * there).min(demand);
            let stay = if there > 0.0 { staying / there } else { 0.0 };
            let running = |at: usize| if may[at] { stay * self.at[at] } else { 0.0 };
            let over = |at: usize| (running(at) - target[at] * demand).max(0.0);
            let excess: f64 = range.clone().map(over).sum();
            let movable: f64 = self.motion.movable * range.clone().map(running).sum::<f64>();
            let moved = excess.min(movable);
            let leave = if excess > 0.0 { moved / excess } else { 0.0 };
            let kept = |at: usize| running(at) - leave * over(at);
            let all_kept: f64 = range.clone().map(kept).sum();
            let short = |at: usize| (target[at] * demand - kept(at)).max(0.0);
            let all_short: f64 = range.clone().map(short).sum();
            let coming = (demand - all_kept).max(0.0);
            for at in range {
                let part = if all_short > 0.0 {
                    short(at) / all_short
                } else {
                    target[at]
                };
                flow.new[at] = coming * part;
                flow.mbps[at] = kept(at) + flow.new[at];
            }
            if self.began {
                flow.moved += moved;
            }
        }
        flow
    }

    /// Remembers where viewers ended up.
    pub(super) fn settle(&mut self, flow: &Flow) {
        self.at.copy_from_slice(&flow.mbps);
        self.began = true;
    }
}

/// Whether a region has an edge that is alive and may serve it; what should go to others goes
/// there, in proportion, or to the nearest when none was to get any.
fn alive(may: &[bool], target: &mut [f64]) -> bool {
    let Some(nearest) = may.iter().position(|may| *may) else {
        target.fill(0.0);
        return false;
    };
    for (share, may) in target.iter_mut().zip(may) {
        if !may || !share.is_finite() || *share < 0.0 {
            *share = 0.0;
        }
    }
    let sum: f64 = target.iter().sum();
    if sum > 0.0 {
        target.iter_mut().for_each(|share| *share /= sum);
    } else {
        target[nearest] = 1.0;
    }
    true
}
