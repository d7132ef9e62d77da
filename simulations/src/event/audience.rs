//! Sans-IO: who comes to watch what, from where, with which player and for how long.
//!
//! Viewers come so that in the mean as many watch as the world's demand says: sessions are
//! exponential, and where demand falls faster than sessions end, some end early. What is drawn here
//! hangs on the seed alone, so that all rules serve the same people.

use super::viewer::Player;
use crate::dice::Dice;
use crate::world::World;
use crate::world::scenario::{Players, Streams, Window};

/// Somebody who comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) region: u16,
    pub(super) stream: u32,
    pub(super) player: Player,
    /// A hash of the viewer and the stream.
    pub(super) key: u64,
    /// How long it wants to watch, and when in the second it comes.
    pub(super) stays_ms: u32,
    pub(super) at_ms: u32,
    pub(super) by_dns: bool,
}

/// Where viewers come from.
pub(super) struct Audience<'a> {
    world: &'a World,
    dice: Dice,
    session_s: f64,
    dns: f64,
    /// By metro, how likely each stream and those before it are watched there.
    tastes: Vec<Vec<f64>>,
    /// By metro, bits per second of a viewer in the mean.
    mean_bps: Vec<f64>,
    /// How many have each player.
    players: [f64; Player::ALL.len()],
}

impl<'a> Audience<'a> {
    /// Of a world.
    pub(super) fn new(
        world: &'a World,
        (players, streams): (&Players, &Streams),
        (window, session_s): (&Window, f64),
        seed: u64,
    ) -> Self {
        let metros = 0..world.metros.len();
        let weights: Vec<Vec<f64>> = metros.map(|at| weights(world, streams, at)).collect();
        let mean_bps = |weights: &Vec<f64>| {
            let sum: f64 = weights.iter().sum();
            let bps = weights.iter().zip(&world.streams);
            let bps: f64 = bps.map(|(part, it)| part * it.bitrate_kbps * 1e3).sum();
            (bps / sum).max(LEAST_BPS)
        };
        Self {
            world,
            dice: Dice::new(seed, "audience"),
            session_s: session_s.max(1.0),
            dns: window.dns,
            mean_bps: weights.iter().map(mean_bps).collect(),
            tastes: weights.iter().map(|it| summed(it)).collect(),
            players: shares(players),
        }
    }

    /// How many regions there are.
    pub(super) fn regions(&self) -> usize {
        self.world.regions.len()
    }

    /// How many want to watch in a region at a second of the world; demand is that of the middles
    /// of slots, straight in between.
    pub(super) fn wanting(&self, region: usize, second: f64) -> f64 {
        let step_s = f64::from(self.world.time.step_s);
        let at = second / step_s - 0.5;
        let slot = (libm::floor(at).max(0.0) as usize).min(self.world.time.slots - 1);
        let next = (slot + 1).min(self.world.time.slots - 1);
        let part = (at - slot as f64).clamp(0.0, 1.0);
        let mbps = |slot: usize| f64::from(self.world.demand(slot)[region]);
        let mbps = (1.0 - part) * mbps(slot) + part * mbps(next);
        mbps * 1e6 / self.mean_bps[self.world.regions[region].metro]
    }

    /// Viewers who come in that second to a region, fewer than none where some have to go.
    pub(super) fn rate(&self, region: usize, second: u32) -> f64 {
        let (before, after) = (f64::from(second), f64::from(second + 1));
        let (before, after) = (self.wanting(region, before), self.wanting(region, after));
        after - before + before / self.session_s
    }

    /// Those who come in a second, to all regions.
    pub(super) fn come(&mut self, second: u32, into: &mut Vec<Arrival>) {
        for region in 0..self.world.regions.len() {
            let count = self.dice.count(self.rate(region, second).max(0.0));
            for _ in 0..count {
                let stream = self.stream(region);
                into.push(self.arrival(region, stream));
            }
        }
    }

    /// Those who watch already when a second begins; each comes within it.
    pub(super) fn present(&mut self, second: u32, into: &mut Vec<Arrival>) {
        for region in 0..self.world.regions.len() {
            let count = self.dice.count(self.wanting(region, f64::from(second)));
            for _ in 0..count {
                let stream = self.stream(region);
                into.push(self.arrival(region, stream));
            }
        }
    }

    /// So many who come at once, to the stream of highest rank.
    pub(super) fn crowd(&mut self, second: u32, count: usize, into: &mut Vec<Arrival>) {
        let likes = |region: usize| {
            let metro = self.world.regions[region].metro;
            let first = self.tastes[metro].first().copied().unwrap_or(0.0);
            self.wanting(region, f64::from(second)) * first
        };
        let from: Vec<f64> = (0..self.world.regions.len()).map(likes).collect();
        let from = summed(&from);
        for _ in 0..count {
            let region = self.drawn(&from);
            into.push(self.arrival(region, 0));
        }
    }

    /// The share of a region's viewers who go early in a second.
    pub(super) fn going(&self, region: usize, second: u32) -> f64 {
        let there = self.wanting(region, f64::from(second));
        (-self.rate(region, second) / there.max(1e-9)).clamp(0.0, 1.0)
    }

    fn arrival(&mut self, region: usize, stream: u32) -> Arrival {
        let player = self.players;
        let stays_s = -libm::log(1.0 - self.dice.uniform()) * self.session_s;
        Arrival {
            region: region as u16,
            stream,
            player: Player::ALL[self.drawn(&player)],
            key: self.dice.bits(),
            stays_ms: (stays_s * 1e3).clamp(1.0, 4e9) as u32,
            at_ms: self.dice.index(1000) as u32,
            by_dns: self.dice.chance(self.dns),
        }
    }

    fn stream(&mut self, region: usize) -> u32 {
        let metro = self.world.regions[region].metro;
        let random = self.dice.uniform();
        pick(&self.tastes[metro], random) as u32
    }

    fn drawn(&mut self, summed: &[f64]) -> usize {
        let random = self.dice.uniform();
        pick(summed, random)
    }
}

/// How much each stream is watched in a metro, before affinity times what affinity makes of it.
fn weights(world: &World, wish: &Streams, metro: usize) -> Vec<f64> {
    let area = &world.metros[metro].area;
    let weight = |stream: &crate::world::Stream| {
        let times = match stream {
            it if it.is_global => wish.of_global,
            it if it.home == metro => wish.at_home,
            it if world.metros[it.home].area == *area => wish.in_area,
            _ => wish.elsewhere,
        };
        stream.popularity * times
    };
    world.streams.iter().map(weight).collect()
}

fn shares(players: &Players) -> [f64; Player::ALL.len()] {
    let low_latency = players.hls * players.low_latency;
    let parts = Player::ALL.map(|player| match player {
        Player::Plain => players.plain,
        Player::Flv => players.flv,
        Player::Session => players.session,
        Player::LowLatency => low_latency,
        Player::Hls => players.hls - low_latency,
    });
    let mut sums = [0.0; Player::ALL.len()];
    sums.copy_from_slice(&summed(&parts));
    sums
}

/// Running sums, as shares of the whole.
fn summed(parts: &[f64]) -> Vec<f64> {
    let all: f64 = parts.iter().sum();
    let mut sum = 0.0;
    let sums = parts.iter().map(|part| {
        sum += part;
        sum / all.max(f64::MIN_POSITIVE)
    });
    sums.collect()
}

/// The index whose part of the running sums a number below one falls into.
fn pick(summed: &[f64], random: f64) -> usize {
    let at = summed.partition_point(|sum| *sum <= random);
    at.min(summed.len().saturating_sub(1))
}

/// A world without streams: sound alone.
const LEAST_BPS: f64 = 1e5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::fixture;

    fn audience(world: &World) -> Audience<'_> {
        let window = Window {
            dns: 0.25,
            ..Window::default()
        };
        let wish = (&Players::default(), &Streams::default());
        Audience::new(world, wish, (&window, 600.0), 1)
    }

    #[test]
    fn as_many_come_as_the_worlds_demand_needs() {
        let (world, _) = fixture::pencil();
        let audience = audience(&world);
        // Slot 1 of region 0 is 50 Mbit/s, slot 2 is 60: of 2 Mbit/s each.
        for (second, viewers) in [(450.0, 25.0), (750.0, 30.0), (600.0, 27.5)] {
            assert!(
                (audience.wanting(0, second) - viewers).abs() < 1e-9,
                "{second}"
            );
        }
        let rate = audience.rate(0, 600);
        assert!((rate - (5.0 / 300.0 + 27.5 / 600.0)).abs() < 1e-9, "{rate}");
        assert_eq!(audience.going(0, 600), 0.0);
    }

    #[test]
    fn players_sessions_and_ways_are_those_asked_for() {
        let (world, _) = fixture::pencil();
        let mut audience = audience(&world);
        let mut all = Vec::new();
        audience.crowd(600, 20_000, &mut all);
        let share = |of: fn(&Arrival) -> bool| {
            all.iter().filter(|it| of(it)).count() as f64 / all.len() as f64
        };
        assert!((share(|it| it.player == Player::Flv) - 0.3).abs() < 0.02);
        assert!((share(|it| it.player.asks()) - 0.5).abs() < 0.02);
        assert!((share(|it| it.by_dns) - 0.25).abs() < 0.02);
        let mean: f64 = all.iter().map(|it| f64::from(it.stays_ms)).sum::<f64>() / 2e7;
        assert!((mean - 600.0).abs() < 20.0, "{mean}");
        assert!(all.iter().all(|it| it.stream == 0 && it.at_ms < 1000));
    }
}
