//! Hot: follows a track frame by frame, for one viewer or one recorder.
//!
//! Within an epoch groups come in order and without holes, or a [`Item::Gap`] says that something
//! is missing. A reader never waits long for the past: a group that stalls, or one that has not
//! come, is given up once a newer one has had frames for [`PATIENCE`]. Reading allocates nothing
//! but the timer of the first such wait. How far a reader may fall behind is its owner's choice, by
//! [`Reader::lag`] and [`Reader::skip_to_latest`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use media::frame::Frame;
use media::timestamp::Timestamp;
use tokio::time::{Instant, Sleep};

use crate::group::{End, Group, Key};
use crate::track::{Changes, Consumer};

/// How long a newer group's frames wait for the rest of an older one: a retransmission over a long
/// path takes a quarter of it, and a viewer's buffer outlives it.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the beginning of the newest group with a frame: a viewer sees a picture at once.
    Latest,
    /// After frame `frame` of group `number` of epoch `epoch`: at the next frame when the group is
    /// still cached, else at the next group.
    After(u64, u64, u32),
}

/// What a reader meets; `Item<()>` for one that finds the frames in their groups itself.
#[derive(Clone, Debug)]
pub enum Item<F = Frame> {
    /// The following frames are of this group.
    Group(Group),
    /// The next frame.
    Frame {
        /// Its number in the group.
        number: u32,
        /// The frame; its payload is the group's.
        frame: F,
    },
    /// The rest of this group, or whole groups, are lost; a group comes next.
    Gap,
}

/// A position in a track.
#[derive(Debug)]
pub struct Reader {
    track: Consumer,
    changes: Changes,
    position: Position,
    last_dts: Option<Timestamp>,
    patience: Patience,
}

#[derive(Clone, Debug)]
enum Position {
    Start(Start),
    /// The group is the next item.
    Enter(Group, u32),
    In(Group, u32),
    Between(Key, Loss),
}

/// Whether the reader was told that something is missing before the next group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    None,
    Told,
}

enum Step {
    Item(Item<()>),
    Again,
    Wait,
    /// Wait too, but not for long: newer frames are there.
    Stalled,
    Over,
}

impl Reader {
    /// A reader of `track` from `start` on.
    pub fn new(track: Consumer, start: Start) -> Self {
        Self {
            changes: track.changes(),
            track,
            position: Position::Start(start),
            last_dts: None,
            patience: Patience::default(),
        }
    }

    /// The next item; `None` once the track ended and all was read.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.poll_place(cx).map(|item| match item? {
            Item::Group(group) => Some(Item::Group(group)),
            Item::Frame { number, .. } => {
                let frame = self.frame(number).expect("it was there just now");
                Some(Item::Frame { number, frame })
            }
            Item::Gap => Some(Item::Gap),
        })
    }

    fn frame(&self, number: u32) -> Option<Frame> {
        match &self.position {
            Position::In(group, _) => group.frame(number as usize),
            _ => None,
        }
    }

    /// The next item, without touching a frame's payload: readers on several cores share nothing
    /// that is written per frame.
    pub fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<()>>> {
        loop {
            let stalled = match self.step(self.patience.is_over()) {
                Step::Item(item) => {
                    self.patience.reset();
                    return Poll::Ready(Some(item));
                }
                Step::Over => return Poll::Ready(None),
                Step::Again => continue,
                Step::Wait => false,
                Step::Stalled => true,
            };
            if self.changes.poll_changed(cx).is_ready() {
                continue;
            }
            if !stalled || self.patience.poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Waits for the next item. Cancel-safe.
    pub async fn next(&mut self) -> Option<Item> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Waits for the next item as [`Self::poll_place`] gives it. Cancel-safe.
    pub async fn next_place(&mut self) -> Option<Item<()>> {
        std::future::poll_fn(|cx| self.poll_place(cx)).await
    }

    /// Goes to the beginning of the newest group, which is the next item; false when the reader is
    /// in it already.
    pub fn skip_to_latest(&mut self) -> bool {
        let Some(latest) = self.track.latest() else {
            return false;
        };
        if self.key().is_none_or(|key| latest.key() <= key) {
            return false;
        }
        self.patience.reset();
        self.position = Position::Enter(latest, 0);
        true
    }

    /// How far the last frame read is behind the newest, on the stream's time line; zero across
    /// epochs, whose time lines have nothing in common.
    pub fn lag(&self) -> Duration {
        let newest = self
            .track
            .latest()
            .filter(|g| self.key().is_some_and(|k| k.epoch == g.key().epoch));
        let newest = newest.and_then(|group| {
            let frame = group.frames(group.len() - 1).next();
            frame.map(|frame| frame.dts)
        });
        let (Some(newest), Some(own)) = (newest, self.last_dts) else {
            return Duration::ZERO;
        };
        Duration::from_micros((newest - own).as_micros().max(0) as u64)
    }

    fn key(&self) -> Option<Key> {
        match &self.position {
            Position::Start(_) => None,
            Position::Enter(group, _) | Position::In(group, _) => Some(group.key()),
            Position::Between(key, _) => Some(*key),
        }
    }

    fn step(&mut self, impatient: bool) -> Step {
        let next = match &mut self.position {
            Position::Start(start) => from_start(&self.track, *start),
            Position::Enter(group, number) => {
                self.last_dts = group.frame(*number as usize).map(|frame| frame.dts);
                let item = Item::Group(group.clone());
                (Some(Position::In(group.clone(), *number)), Step::Item(item))
            }
            Position::In(group, number) => {
                // Asked before looking for the frame: what is there afterwards is all.
                let end = group.end();
                if let Some(frame) = group.frames(*number as usize).next() {
                    self.last_dts = Some(frame.dts);
                    let item = Item::Frame {
                        number: *number,
                        frame: (),
                    };
                    *number += 1;
                    return Step::Item(item);
                }
                at_end(&self.track, group.key(), end, impatient)
            }
            Position::Between(key, loss) => between(&self.track, *key, *loss, impatient),
        };
        if let Some(position) = next.0 {
            self.position = position;
        }
        next.1
    }
}

type Move = (Option<Position>, Step);

fn from_start(track: &Consumer, start: Start) -> Move {
    let Start::After(epoch, number, frame) = start else {
        return match track.latest() {
            Some(group) => (Some(Position::Enter(group, 0)), Step::Again),
            None => (
                None,
                if track.is_over(None) {
                    Step::Over
                } else {
                    Step::Wait
                },
            ),
        };
    };
    let key = Key { epoch, number };
    let next = frame.saturating_add(1);
    let rest = |group: &Group| group.end() != Some(End::Finished) || group.len() > next as usize;
    match track.group(key).filter(rest) {
        Some(group) => (Some(Position::Enter(group, next)), Step::Again),
        None => (Some(Position::Between(key, Loss::None)), Step::Again),
    }
}

/// All frames of the group at `key` were read.
fn at_end(track: &Consumer, key: Key, end: Option<End>, impatient: bool) -> Move {
    let lost = || {
        (
            Some(Position::Between(key, Loss::Told)),
            Step::Item(Item::Gap),
        )
    };
    match end {
        Some(End::Finished) => (Some(Position::Between(key, Loss::None)), Step::Again),
        Some(End::Aborted) => lost(),
        None if track.next_after(key).is_none() => (None, Step::Wait),
        None if impatient => lost(),
        None => (None, Step::Stalled),
    }
}

fn between(track: &Consumer, key: Key, loss: Loss, impatient: bool) -> Move {
    let Some(next) = track.next_after(key) else {
        return (
            None,
            if track.is_over(Some(key)) {
                Step::Over
            } else {
                Step::Wait
            },
        );
    };
    let expected = Key {
        number: key.number + 1,
        ..key
    };
    let hole = next.key().epoch == key.epoch && next.key() != expected;
    if hole && !impatient && track.may_come(expected) {
        return (None, Step::Stalled);
    }
    if hole && loss == Loss::None {
        return (
            Some(Position::Between(key, Loss::Told)),
            Step::Item(Item::Gap),
        );
    }
    (Some(Position::Enter(next, 0)), Step::Again)
}

/// The wait for something old while something new is there.
#[derive(Debug, Default)]
struct Patience {
    sleep: Option<Pin<Box<Sleep>>>,
    state: Wait,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wait {
    #[default]
    Idle,
    Running,
    Over,
}

impl Patience {
    fn is_over(&self) -> bool {
        self.state == Wait::Over
    }

    fn reset(&mut self) {
        self.state = Wait::Idle;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = Instant::now() + PATIENCE;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if self.state == Wait::Idle {
            sleep.as_mut().reset(until);
            self.state = Wait::Running;
        }
        let ready = sleep.as_mut().poll(cx);
        if ready.is_ready() {
            self.state = Wait::Over;
        }
        ready
    }
}

#[cfg(test)]
mod tests;
