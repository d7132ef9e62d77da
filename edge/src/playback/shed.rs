//! Sans-IO: Hot: what a viewer who reads a track frame by frame loses, so as not to stay behind.
//!
//! The rules of the fan-out's cursor, for roads without its logs: half the bound behind, pictures that no other
//! refers to are left out; at the bound all pictures up to the newest key frame are, or up to the next one when none
//! is there, while sound goes on. The lag that a viewer came with does not count until it was caught up once.
//! What to do when sound alone is too far behind is the caller's.

use media::frame::{Frame, Kind, TrackId};
use relay::group::Key;

use super::lag::Lag;

/// What one viewer loses.
#[derive(Debug)]
pub struct Shed {
    bound: Lag,
    /// The lag that does not count; unknown before the first look.
    grace: Option<Lag>,
    sparing: bool,
    /// Pictures of groups before this one are left out.
    pictures_from: Option<Key>,
}

/// What a look at the lag came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Nothing new.
    Same,
    /// From here on pictures are left out.
    Sheds,
    /// Even sound alone is too far behind.
    Hopeless,
}

impl Shed {
    /// A viewer who may be that far behind.
    pub fn new(bound: Lag) -> Self {
        Self {
            bound,
            grace: None,
            sparing: false,
            pictures_from: None,
        }
    }

    /// Looks at a viewer who is in the group `here`, while the newest is `newest`.
    pub fn judge(&mut self, lag: Lag, here: Key, newest: Key) -> Judged {
        let half = self.bound.part(1, 2);
        let grace = self.grace.get_or_insert(lag);
        if !lag.exceeds(&half) {
            *grace = Lag::default();
        }
        let grace = *grace;
        self.sparing = lag.exceeds(&half.plus(&grace));
        if self.pictures_from.is_some_and(|from| from <= here) {
            self.pictures_from = None;
        }
        if lag.exceeds(&self.bound.part(2, 1).plus(&grace)) && newest > here {
            return Judged::Hopeless;
        }
        let over = lag.exceeds(&self.bound.plus(&grace));
        if !over && self.pictures_from.is_none() {
            return Judged::Same;
        }
        // Groups are consecutive, and a greater epoch comes after any number.
        let next = Key {
            number: here.number.saturating_add(1),
            ..here
        };
        match self.pictures_from.replace(newest.max(next)) {
            None => Judged::Sheds,
            Some(_) => Judged::Same,
        }
    }

    /// Whether the viewer gets this frame of that group.
    pub fn keeps(&self, group: Key, frame: &Frame) -> bool {
        let shedding = self.pictures_from.is_some_and(|from| group < from);
        let spared = self.sparing && frame.kind == Kind::Disposable;
        frame.track != TrackId::VIDEO || !(shedding || spared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::picture;

    const BOUND: Lag = Lag {
        ms: 1_000,
        bytes: 100_000,
    };

    fn key(number: u64) -> Key {
        Key { epoch: 1, number }
    }

    /// Rows of (lag in ms, here, newest), what it comes to, and which of the group's pictures are kept:
    /// a disposable one, and a reference.
    fn check(rows: &[(u64, u64, u64, Judged, [bool; 2])]) {
        let mut shed = Shed::new(BOUND);
        shed.judge(Lag::default(), key(1), key(1));
        for &(ms, here, newest, judged, keeps) in rows {
            let lag = Lag { ms, bytes: 0 };
            let row = format!("{ms} ms behind in {here} of {newest}");
            assert_eq!(shed.judge(lag, key(here), key(newest)), judged, "{row}");
            let kinds = [Kind::Disposable, Kind::Reference];
            let kept = kinds.map(|kind| shed.keeps(key(here), &picture(kind, 0)));
            assert_eq!(kept, keeps, "{row}");
        }
    }

    #[test]
    fn pictures_go_by_what_depends_on_them() {
        use Judged::{Hopeless, Same, Sheds};
        check(&[
            (400, 1, 2, Same, [true, true]),
            (600, 1, 2, Same, [false, true]),
            (1_100, 1, 2, Sheds, [false, false]),
            (900, 1, 3, Same, [false, false]),
            (700, 2, 3, Same, [false, false]),
            (400, 3, 3, Same, [true, true]),
            (1_100, 3, 3, Sheds, [false, false]),
            (100, 3, 3, Same, [true, true].map(|_| false)),
            (100, 4, 4, Same, [true, true]),
            (2_100, 4, 9, Hopeless, [false, true]),
        ]);
    }

    #[test]
    fn sound_is_kept_and_bytes_count_too() {
        let mut shed = Shed::new(BOUND);
        shed.judge(Lag::default(), key(1), key(1));
        let lag = Lag {
            ms: 0,
            bytes: 100_001,
        };
        assert_eq!(shed.judge(lag, key(1), key(2)), Judged::Sheds);
        let mut sound = picture(Kind::Key, 0);
        assert!(!shed.keeps(key(1), &sound));
        sound.track = TrackId::AUDIO;
        assert!(shed.keeps(key(1), &sound));
    }

    #[test]
    fn the_lag_that_a_viewer_came_with_does_not_count_until_it_caught_up() {
        let mut shed = Shed::new(BOUND);
        let lag = |ms| Lag { ms, bytes: 0 };
        assert_eq!(shed.judge(lag(1_500), key(1), key(1)), Judged::Same);
        assert_eq!(shed.judge(lag(1_800), key(1), key(1)), Judged::Same);
        assert_eq!(shed.judge(lag(0), key(1), key(1)), Judged::Same);
        assert_eq!(shed.judge(lag(1_800), key(1), key(2)), Judged::Sheds);
    }
}
