//! Sans-IO: who comes, alone and in crowds, and who goes early.

use scheduler::snapshot::mix;

use super::super::agenda::What;
use super::super::audience::Arrival;
use super::super::trace::within;
use super::super::viewer::Viewer;
use super::Play;
use crate::world::scenario::Window;

impl Play<'_> {
    /// Those who come in a second, and those who go early because demand falls fast.
    pub(super) fn come(&mut self, second: u32) {
        let world_s = self.times.second(second * 1000);
        let mut all = Vec::new();
        let Some(audience) = &mut self.who.drawn else {
            return self.visit(second);
        };
        if second == 0 {
            audience.present(world_s, &mut all);
        }
        audience.come(world_s, &mut all);
        all.iter().for_each(|arrival| self.arrive(second, arrival));
        self.crowd(second);
        self.go_early(second);
    }

    /// Those of a trace.
    fn visit(&mut self, second: u32) {
        let visits = self.who.visits;
        for visit in &visits[within(visits, second)] {
            let arrival = Arrival {
                region: visit.region,
                stream: visit.stream,
                player: visit.player,
                key: visit.key,
                stays_ms: visit.stays_ms,
                at_ms: visit.at_ms % 1000,
                by_dns: false,
            };
            self.arrive(second, &arrival);
        }
    }

    fn crowd(&mut self, second: u32) {
        let Window {
            crowd_min,
            crowd,
            crowd_s,
            ..
        } = *self.window;
        let from = self.times.warm_up_s + (crowd_min.max(0.0) * 60.0) as u32;
        if crowd_min < 0.0 || !(from..from + crowd_s).contains(&second) {
            return;
        }
        let world_s = self.times.second(from * 1000);
        let Some(audience) = &mut self.who.drawn else {
            return;
        };
        let regions = 0..audience.regions();
        let there: f64 = regions
            .map(|it| audience.wanting(it, f64::from(world_s)))
            .sum();
        let until =
            |seconds: u32| (crowd * there * f64::from(seconds) / f64::from(crowd_s)) as usize;
        let count = until(second + 1 - from) - until(second - from);
        let mut all = Vec::new();
        audience.crowd(world_s, count, &mut all);
        all.iter().for_each(|arrival| self.arrive(second, arrival));
    }

    fn go_early(&mut self, second: u32) {
        let world_s = self.times.second(second * 1000);
        let Some(audience) = &self.who.drawn else {
            return;
        };
        let regions = 0..audience.regions();
        let going: Vec<f64> = regions.map(|it| audience.going(it, world_s)).collect();
        if going.iter().all(|share| *share <= 0.0) {
            return;
        }
        for at in 0..self.viewers.len() {
            let viewer = &self.viewers[at];
            let random = mix(viewer.key ^ mix(second.into())) >> 11;
            let random = random as f64 / (1_u64 << 53) as f64;
            if viewer.present && random < going[usize::from(viewer.region)] {
                self.leave(second * 1000, at as u32);
            }
        }
    }

    fn arrive(&mut self, second: u32, arrival: &Arrival) {
        let now_ms = second * 1000 + arrival.at_ms;
        let at = self.free.pop().unwrap_or_else(|| {
            self.viewers.push(Viewer::NOBODY);
            self.viewers.len() as u32 - 1
        });
        let viewer = &mut self.viewers[at as usize];
        *viewer = Viewer {
            key: arrival.key,
            since_ms: now_ms,
            stream: arrival.stream,
            region: arrival.region,
            player: arrival.player,
            by_dns: arrival.by_dns,
            present: true,
            turn: viewer.turn,
            ..Viewer::NOBODY
        };
        self.books.came += 1;
        self.tally.figures.came += u64::from(self.tally.counts);
        self.plan(now_ms, at, What::Ask);
        self.plan(now_ms.saturating_add(arrival.stays_ms), at, What::Leave);
    }
}
