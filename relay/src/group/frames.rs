//! Hot: an append-only list that many threads read without a lock while one appends.
//!
//! Blocks double in size and are never moved, so a reference to a frame stays valid as long as the
//! list lives; a short group costs one small block. A vector behind a lock would move frames when
//! it grows and stop thousands of readers while it does.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use media::frame::Frame;

/// Slots of the first block: a second of audio-only frames.
const FIRST: usize = 32;

/// Blocks, each twice the one before.
const BLOCKS: usize = 11;

/// Frames that fit.
pub(super) const CAPACITY: usize = FIRST * ((1 << BLOCKS) - 1);

/// Memory of one frame's slot.
pub(super) const SLOT: usize = size_of::<OnceLock<Frame>>();

/// Memory of the first block.
pub(super) const SMALLEST: usize = FIRST * SLOT;

/// The list.
#[derive(Debug, Default)]
pub(super) struct Frames {
    blocks: [OnceLock<Box<[OnceLock<Frame>]>>; BLOCKS],
    len: AtomicUsize,
}

impl Frames {
    /// Frames that were appended.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// The frame at `index`, once it was appended.
    pub(super) fn at(&self, index: usize) -> Option<&Frame> {
        let (block, slot) = place(index);
        self.blocks.get(block)?.get()?.get(slot)?.get()
    }

    /// Appends below [`CAPACITY`], by one thread at a time; says at which index.
    pub(super) fn push(&self, frame: Frame) -> usize {
        let index = self.len.load(Ordering::Relaxed);
        let (block, slot) = place(index);
        let slots = self.blocks[block]
            .get_or_init(|| (0..FIRST << block).map(|_| OnceLock::new()).collect());
        let fresh = slots[slot].set(frame).is_ok();
        debug_assert!(fresh, "two writers of one group");
        self.len.store(index + 1, Ordering::Release);
        index
    }
}

/// Which block, and where in it: block `b` starts at `FIRST * (2^b - 1)`.
fn place(index: usize) -> (usize, usize) {
    let block = (index / FIRST + 1).ilog2() as usize;
    (block, index - FIRST * ((1 << block) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_its_own_place() {
        let mut expect = (0, 0);
        for index in 0..CAPACITY {
            assert_eq!(place(index), expect, "index {index}");
            expect.1 += 1;
            if expect.1 == FIRST << expect.0 {
                expect = (expect.0 + 1, 0);
            }
        }
        assert_eq!(expect, (BLOCKS, 0), "the blocks hold exactly the capacity");
    }
}
