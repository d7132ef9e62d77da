//! Sans-IO: would a player have run dry?
//!
//! A model of a player: it starts once its start buffer is full, plays in real time, stalls when
//! it reaches the newest frame it has, and goes on when the buffer is full again. It follows the
//! pictures, or the sound where there are none. Where a stream jumps, players jump too: a step
//! longer than [`JUMP`] adds nothing to what there is to play.

use media::timestamp::Timestamp;
use std::time::Duration;

/// One viewer's player.
#[derive(Debug)]
pub struct Player {
    start_buffer: Duration,
    /// The last frame's place on the stream's own time line.
    last: Option<Timestamp>,
    /// How much there was to play so far.
    received: Duration,
    state: State,
    stalls: Stalls,
}

/// How often and how long a player ran dry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    /// How often.
    pub count: u64,
    /// How long, all together.
    pub time: Duration,
    /// The longest.
    pub longest: Duration,
}

#[derive(Debug)]
enum State {
    /// Filling the buffer: plays from `position` on; dry since then, unless it never played.
    Waiting {
        position: Duration,
        since: Option<Duration>,
    },
    /// At `position` it was `at`.
    Playing { position: Duration, at: Duration },
}

impl Player {
    /// A player that starts with so much to play.
    pub fn new(start_buffer: Duration) -> Self {
        let state = State::Waiting {
            position: Duration::ZERO,
            since: None,
        };
        Self {
            start_buffer,
            last: None,
            received: Duration::ZERO,
            state,
            stalls: Stalls::default(),
        }
    }

    /// A frame came; `now` counts from any fixed moment.
    pub fn frame(&mut self, now: Duration, dts: Timestamp) {
        self.run_to(now);
        let step = self.last.map_or(Timestamp::ZERO, |last| dts - last);
        let step = Duration::from_micros(step.as_micros().max(0).unsigned_abs());
        self.last = Some(dts);
        if step <= JUMP {
            self.received += step;
        }
        if let State::Waiting { position, since } = self.state
            && self.received >= position + self.start_buffer
        {
            self.stalls
                .lasted(since.map_or(Duration::ZERO, |since| now.saturating_sub(since)));
            self.state = State::Playing { position, at: now };
        }
    }

    /// How it went so far, the stall of now included.
    pub fn stalls(&mut self, now: Duration) -> Stalls {
        self.run_to(now);
        let mut stalls = self.stalls;
        if let State::Waiting {
            since: Some(since), ..
        } = self.state
        {
            stalls.lasted(now.saturating_sub(since));
        }
        stalls
    }

    fn run_to(&mut self, now: Duration) {
        let State::Playing { position, at } = self.state else {
            return;
        };
        let dry_at = at + self.received.saturating_sub(position);
        if now > dry_at {
            self.stalls.count += 1;
            self.state = State::Waiting {
                position: self.received,
                since: Some(dry_at),
            };
        }
    }
}

impl Stalls {
    /// One of them lasted so long.
    fn lasted(&mut self, time: Duration) {
        self.time += time;
        self.longest = self.longest.max(time);
    }
}

/// Longer than any picture is shown; what is skipped or a new time line is not played.
const JUMP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames as (arrival, dts) in ms with a start buffer of 200 ms; the viewer leaves at `end`.
    fn stalls(frames: &[(u64, i64)], end: u64) -> (u64, u64) {
        let ms = Duration::from_millis;
        let mut player = Player::new(ms(200));
        for (now, dts) in frames {
            player.frame(ms(*now), Timestamp::from_millis(*dts));
        }
        let stalls = player.stalls(ms(end));
        assert_eq!(stalls.longest, stalls.time, "there is one at most");
        (stalls.count, stalls.time.as_millis() as u64)
    }

    #[test]
    fn a_player_stalls_when_it_has_played_all_it_has() {
        type Frames = &'static [(u64, i64)];
        let table: [(&str, Frames, u64, (u64, u64)); 7] = [
            ("never starts", &[(0, 0), (100, 100)], 9000, (0, 0)),
            ("plays", &[(0, 0), (0, 200), (150, 300)], 300, (0, 0)),
            ("dry at the end", &[(0, 0), (0, 200)], 500, (1, 300)),
            (
                "dry from 200 until the buffer is full again at 450",
                &[(0, 0), (0, 200), (300, 300), (450, 400)],
                600,
                (1, 250),
            ),
            (
                "a burst brings it back at once",
                &[(0, 0), (0, 200), (300, 800)],
                600,
                (1, 100),
            ),
            (
                "a jump is nothing to play",
                &[(0, 0), (0, 200), (100, 5000), (100, 5100)],
                300,
                (0, 0),
            ),
            (
                "a time line that starts anew goes on",
                &[(0, 5000), (0, 5200), (100, 0), (100, 200)],
                400,
                (0, 0),
            ),
        ];
        for (what, frames, end, expect) in table {
            assert_eq!(stalls(frames, end), expect, "{what}");
        }
    }
}
