//! Sans-IO: Hot: a group's stream as it arrives in pieces, and the parity that fills its holes.
//!
//! Bytes are kept for a while after they were read: parity is a sum over them, too. What is kept is
//! bounded by the caller's wish, what is ahead of the first hole by [`MAX_AHEAD`].

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::ranges::Ranges;
use super::{MAX_ROWS, MAX_WIDTH, code};
use crate::wire::{Block, Parity};

/// Bytes behind a hole: what a connection may have under way, 1 Gbit/s over 130 ms.
const MAX_AHEAD: u64 = 16 << 20;

/// Runs of bytes between holes: far more than packets get lost in a round trip.
const MAX_RUNS: usize = 4096;

/// Blocks whose parity waits for more bytes: as many frames as a long round trip has.
const MAX_PENDING: usize = 16;

/// Holes in a block beyond which nothing is tried: four times the parity it can have.
const MAX_HOLES: usize = 64;

/// Bytes worth keeping for parity: the largest block.
const MAX_KEPT: usize = MAX_ROWS * MAX_WIDTH;

/// Memory that is kept for the next frames.
const SMALL: usize = 64 << 10;

/// A piece too far ahead, or too many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

/// The bytes of a stream from some offset on, with holes.
#[derive(Debug)]
pub struct Window {
    /// The offset of the first byte kept.
    base: u64,
    bytes: Vec<u8>,
    have: Ranges,
    /// The offset of the next byte to read.
    read: u64,
    /// No parity is expected for what is before: blocks come in order.
    settled: u64,
    pending: VecDeque<Pending>,
    repaired: usize,
}

/// A block with holes, and its parity.
#[derive(Debug)]
struct Pending {
    block: Block,
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    row: usize,
    column: usize,
    bytes: Bytes,
}

/// What is missing of one row of a block.
struct Hole {
    row: usize,
    columns: Range<usize>,
}

impl Window {
    /// Everything before `start` was read elsewhere.
    pub fn new(start: u64) -> Self {
        Self {
            base: start,
            bytes: Vec::new(),
            have: Ranges::default(),
            read: start,
            settled: start,
            pending: VecDeque::new(),
            repaired: 0,
        }
    }

    /// Takes a piece that arrived.
    pub fn insert(&mut self, offset: u64, piece: &[u8]) -> Result<(), Overrun> {
        let range = offset..offset + piece.len() as u64;
        self.fill(offset, piece)?;
        let touched = |pending: &Pending| {
            pending.block.start < range.end && range.start < pending.block.end()
        };
        if self.pending.iter().any(touched) {
            self.solve();
        }
        Ok(())
    }

    /// Takes parity; useless when its block is whole, or not kept any more.
    pub fn repair(&mut self, parity: Parity) {
        let Parity {
            block,
            row,
            column,
            bytes,
            ..
        } = parity;
        self.settled = self.settled.max(block.start);
        if self.have.end_of_run(block.start) >= block.end() {
            self.settled = self.settled.max(block.end());
            return;
        }
        if block.start < self.base || block.end() > self.base + MAX_AHEAD {
            return;
        }
        let run = Run { row, column, bytes };
        match self
            .pending
            .iter_mut()
            .find(|pending| pending.block == block)
        {
            Some(pending) => {
                let known = |held: &Run| (held.row, held.column) == (run.row, run.column);
                if !pending.runs.iter().any(known) && pending.runs.len() < MAX_HOLES {
                    pending.runs.push(run);
                }
            }
            None => self.pending.push_back(Pending {
                block,
                runs: vec![run],
            }),
        }
        if self.pending.len() > MAX_PENDING {
            self.pending.pop_front();
        }
        self.solve();
    }

    /// The bytes that can be read.
    pub fn readable(&self) -> &[u8] {
        let end = self.have.end_of_run(self.read);
        &self.bytes[self.index(self.read)..self.index(end)]
    }

    /// Goes on after them, and forgets all but `keep` bytes of what was read.
    pub fn advance(&mut self, keep: usize) {
        self.read = self.have.end_of_run(self.read);
        let kept = self.read.saturating_sub(keep.min(MAX_KEPT) as u64);
        let floor = kept.max(self.settled.min(self.read)).max(self.base);
        let gone = self.index(floor);
        // Moving the rest down once it is the smaller part costs each byte one move at most.
        if gone > self.bytes.len() / 2 {
            self.bytes.drain(..gone);
            self.base = floor;
            self.have.forget(floor);
        }
        let (base, read) = (self.base, self.read);
        self.pending.retain(|pending| {
            let Block { start, .. } = pending.block;
            start >= base && pending.block.end() > read
        });
        if self.bytes.capacity() > SMALL.max(4 * self.bytes.len()) {
            self.bytes.shrink_to(2 * self.bytes.len());
        }
    }

    /// Memory taken.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes that parity gave, since the last time this was asked.
    pub fn take_repaired(&mut self) -> usize {
        std::mem::take(&mut self.repaired)
    }

    fn index(&self, offset: u64) -> usize {
        (offset - self.base) as usize
    }

    fn fill(&mut self, offset: u64, piece: &[u8]) -> Result<(), Overrun> {
        let stale = self.base.saturating_sub(offset).min(piece.len() as u64);
        let (offset, piece) = (offset + stale, &piece[stale as usize..]);
        let end = offset + piece.len() as u64;
        if end > self.read + MAX_AHEAD || self.have.len() > MAX_RUNS {
            return Err(Overrun);
        }
        if piece.is_empty() {
            return Ok(());
        }
        let (from, to) = (self.index(offset), self.index(end));
        if self.bytes.len() == from {
            self.bytes.extend_from_slice(piece);
        } else {
            self.bytes.resize(self.bytes.len().max(to), 0);
            self.bytes[from..to].copy_from_slice(piece);
        }
        self.have.insert(offset..end);
        Ok(())
    }

    fn solve(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|pending| {
            for (offset, bytes) in self.solve_block(pending) {
                self.repaired += bytes.len();
                // It lies within a block that was found to be in bounds.
                let _ = self.fill(offset, &bytes);
            }
            self.have.end_of_run(pending.block.start) < pending.block.end()
        });
        self.pending = pending;
    }

    /// What parity tells of the block's holes, column by column.
    fn solve_block(&self, pending: &Pending) -> Vec<(u64, Vec<u8>)> {
        let Pending { block, runs } = pending;
        let holes = self.holes(*block);
        if holes.len() > MAX_HOLES {
            return Vec::new();
        }
        let covers = |from: usize, to: usize, columns: &Range<usize>| {
            columns.start <= from && to <= columns.end
        };
        let mut found = Vec::new();
        for columns in cuts(&holes, runs).windows(2) {
            let (from, to) = (columns[0], columns[1]);
            let missing = holes.iter().filter(|hole| covers(from, to, &hole.columns));
            let unknowns: Vec<usize> = missing.map(|hole| hole.row).collect();
            let known = runs.iter().filter(|run| covers(from, to, &run.columns()));
            let known: Vec<&Run> = known.take(unknowns.len()).collect();
            if unknowns.is_empty() || known.len() < unknowns.len() {
                continue;
            }
            let rows: Vec<usize> = known.iter().map(|run| run.row).collect();
            let mut sums: Vec<Vec<u8>> = known
                .iter()
                .map(|run| self.remainder(*block, run, from..to, &unknowns))
                .collect();
            code::solve(&rows, &unknowns, &mut sums);
            let offset = |row: usize| block.start + (row * block.width + from) as u64;
            found.extend(unknowns.into_iter().map(offset).zip(sums));
        }
        found
    }

    fn holes(&self, block: Block) -> Vec<Hole> {
        let mut holes = Vec::new();
        for missing in self.have.missing(block.start..block.end()) {
            let end = (missing.end - block.start) as usize;
            let mut at = (missing.start - block.start) as usize;
            while at < end {
                let (row, column) = (at / block.width, at % block.width);
                let length = (end - at).min(block.width - column);
                holes.push(Hole {
                    row,
                    columns: column..column + length,
                });
                at += length;
            }
        }
        holes
    }

    /// The part of a parity row that the rows which are there do not explain.
    fn remainder(
        &self,
        block: Block,
        run: &Run,
        columns: Range<usize>,
        unknowns: &[usize],
    ) -> Vec<u8> {
        let mut sum = run.bytes[columns.start - run.column..columns.end - run.column].to_vec();
        for row in (0..block.rows()).filter(|row| !unknowns.contains(row)) {
            let start = row * block.width + columns.start;
            let end = (row * block.width + columns.end).min(block.length);
            if start < end {
                let first = self.index(block.start);
                let there = &self.bytes[first + start..first + end];
                code::add(&mut sum, there, code::coefficient(run.row, row));
            }
        }
        sum
    }
}

impl Run {
    fn columns(&self) -> Range<usize> {
        self.column..self.column + self.bytes.len()
    }
}

/// The columns at which a hole or a run begins or ends.
fn cuts(holes: &[Hole], runs: &[Run]) -> Vec<usize> {
    let holes = holes.iter().map(|hole| hole.columns.clone());
    let all = holes.chain(runs.iter().map(Run::columns));
    let mut cuts: Vec<usize> = all
        .flat_map(|columns| [columns.start, columns.end])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}
