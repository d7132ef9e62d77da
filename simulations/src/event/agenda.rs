//! Sans-IO: what happens when: a bucket for each second, sorted when its time comes.
//!
//! Events of one millisecond come in the order of their kinds and then of viewers, so that the same
//! world plays the same on any machine. What lies beyond the end is forgotten.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What may happen to a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// Stops watching.
    Leave,
    /// Asks a scheduler where to go.
    Ask,
    /// Reaches an edge of its answer.
    Connect,
    /// Asks for content steering.
    Steer,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// What.
    pub(super) what: What,
    /// Where the viewer stands in the table.
    pub(super) viewer: u32,
    /// How often that place was given away before: events of those who are gone are void.
    pub(super) turn: u16,
}

/// All that is to happen.
#[derive(Debug)]
pub(super) struct Agenda {
    /// By second: milliseconds in it, kind, viewer and turn, packed.
    seconds: Vec<Vec<u64>>,
    second: u32,
    /// Those of the second that runs, the last first.
    due: Vec<u64>,
    /// Those that were added to it while it runs.
    added: BinaryHeap<Reverse<u64>>,
}

impl Agenda {
    /// For so many seconds.
    pub(super) fn new(seconds: u32) -> Self {
        Self {
            seconds: vec![Vec::new(); seconds as usize],
            second: 0,
            due: Vec::new(),
            added: BinaryHeap::new(),
        }
    }

    /// Adds something; what is past happens next.
    pub(super) fn add(&mut self, at_ms: u32, event: Event) {
        let at_ms = at_ms.max(self.second * 1000);
        let second = at_ms / 1000;
        let packed = u64::from(at_ms % 1000) << 51
            | (event.what as u64) << 48
            | u64::from(event.viewer) << 16
            | u64::from(event.turn);
        if second == self.second {
            self.added.push(Reverse(packed));
        } else if let Some(bucket) = self.seconds.get_mut(second as usize) {
            bucket.push(packed);
        }
    }

    /// Begins a second.
    pub(super) fn begin(&mut self, second: u32) {
        self.second = second;
        self.due = std::mem::take(&mut self.seconds[second as usize]);
        self.due.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// The next of the second that runs, with its time.
    pub(super) fn next(&mut self) -> Option<(u32, Event)> {
        let packed = match (self.due.last(), self.added.peek()) {
            (Some(due), Some(Reverse(added))) if added < due => self.added.pop()?.0,
            (None, Some(_)) => self.added.pop()?.0,
            _ => self.due.pop()?,
        };
        let what = match packed >> 48 & 7 {
            0 => What::Leave,
            1 => What::Ask,
            2 => What::Connect,
            _ => What::Steer,
        };
        let event = Event {
            what,
            viewer: (packed >> 16) as u32,
            turn: packed as u16,
        };
        Some((self.second * 1000 + (packed >> 51) as u32, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_those_added_late_too() {
        let mut agenda = Agenda::new(2);
        let event = |what, viewer| Event {
            what,
            viewer,
            turn: 65_535,
        };
        agenda.add(1500, event(What::Ask, 1));
        agenda.add(700, event(What::Steer, u32::MAX));
        agenda.add(700, event(What::Leave, 9));
        agenda.add(2000, event(What::Leave, 2));
        let mut seen = Vec::new();
        for second in 0..2 {
            agenda.begin(second);
            while let Some((at_ms, event)) = agenda.next() {
                if event.viewer == 9 {
                    agenda.add(800, Event { viewer: 3, ..event });
                    agenda.add(10, Event { viewer: 4, ..event });
                }
                assert_eq!(event.turn, 65_535);
                seen.push((at_ms, event.viewer));
            }
        }
        let order = [(700, 9), (0, 4), (700, u32::MAX), (800, 3), (1500, 1)];
        // What was late keeps the time of its second's beginning.
        assert_eq!(seen.len(), 5);
        for (seen, expected) in seen.iter().zip(order) {
            assert_eq!(seen.1, expected.1, "{seen:?}");
        }
    }
}
