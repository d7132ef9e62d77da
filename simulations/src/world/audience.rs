//! Sans-IO: who watches which stream where: popularity, as far as a stream's home lets it reach.

use super::World;

/// How many times more viewers a stream has by where they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affinity {
    /// In its home metro.
    pub at_home: f64,
    /// Elsewhere in the home's area.
    pub in_area: f64,
    /// In other areas.
    pub elsewhere: f64,
    /// Everywhere, of one that is watched alike everywhere.
    pub of_global: f64,
}

impl Default for Affinity {
    /// Those of the reference worlds.
    fn default() -> Self {
        Self {
            at_home: 30.0,
            in_area: 3.0,
            elsewhere: 0.15,
            of_global: 6.0,
        }
    }
}

/// The streams' viewers by metro, for a Mbit/s of demand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audience {
    streams: usize,
    /// By metro and then stream.
    viewers: Vec<f32>,
}

impl Audience {
    /// Of a world.
    pub fn new(world: &World) -> Self {
        let mut viewers = Vec::with_capacity(world.metros.len() * world.streams.len());
        for (at, metro) in world.metros.iter().enumerate() {
            let times = |stream: &super::Stream| {
                let near = &world.affinity;
                match &world.metros[stream.home].area {
                    _ if stream.is_global => near.of_global,
                    _ if stream.home == at => near.at_home,
                    area if *area == metro.area => near.in_area,
                    _ => near.elsewhere,
                }
            };
            let weight = |stream: &super::Stream| stream.popularity * times(stream);
            let streams = world.streams.iter();
            let kbps: f64 = streams.map(|it| weight(it) * it.bitrate_kbps).sum();
            let of = |stream| (1000.0 * weight(stream) / kbps.max(f64::MIN_POSITIVE)) as f32;
            viewers.extend(world.streams.iter().map(of));
        }
        Self {
            streams: world.streams.len(),
            viewers,
        }
    }

    /// By stream, the expected viewers in a metro for each Mbit/s that its regions ask for.
    pub fn of(&self, metro: usize) -> &[f32] {
        &self.viewers[metro * self.streams..(metro + 1) * self.streams]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Stream;

    #[test]
    fn viewers_take_what_is_asked_for_and_most_are_at_home() {
        let (mut world, _) = crate::world::fixture::pencil();
        let metro = |name: &str, area: &str| super::super::Metro {
            name: name.to_owned(),
            area: area.to_owned(),
            ..world.metros[0].clone()
        };
        world.metros = vec![metro("a", "x"), metro("b", "x"), metro("c", "y")];
        let stream = |popularity, bitrate_kbps, is_global| Stream {
            bitrate_kbps,
            popularity,
            home: 0,
            is_global,
        };
        world.streams = vec![stream(0.5, 1000.0, false), stream(0.5, 4000.0, true)];
        let audience = Audience::new(&world);
        for metro in 0..3 {
            let of = audience.of(metro);
            let kbps = of[0] * 1000.0 + of[1] * 4000.0;
            assert!((kbps - 1000.0).abs() < 0.1, "{kbps}");
        }
        let parts = [0, 1, 2].map(|metro| audience.of(metro)[0] / audience.of(metro)[1]);
        assert_eq!(parts.map(|it| (it * 1000.0).round()), [5000.0, 500.0, 25.0]);
    }
}
