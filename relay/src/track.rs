//! Hot: the groups of one stream on this node, in order, and who is told when they change.
//!
//! Groups stand in the order of (epoch, number); a greater epoch always comes after. They may open
//! out of order, as QUIC delivers them, and several may be written at once, but a key that was
//! there never comes back, save that a whole group takes the place of one that was aborted: who
//! reads that one keeps it. A lock is taken only to go from one group to the next: following a
//! group's frames needs none. Each reader is woken by a bell of its own; a single
//! writer can walk any number of positions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::bell::{Bell, Bells};
use crate::cache::Cache;
use crate::group::{self, End, Group, Header, Key, Place};

/// Groups in one track: half an hour of 2 s groups, or four minutes of quarter-second ones, which
/// is what players go back by.
pub const MAX_GROUPS: usize = 1024;

/// A track whose groups count against `cache`. With a window, groups that ended longer than that
/// before the newest began (by the origin's clock) are dropped even when there is room.
pub fn new(cache: &Cache, window: Option<Duration>) -> Result<(Producer, Consumer), TooMany> {
    if !cache.account().add_track() {
        return Err(TooMany);
    }
    let shared = Arc::new(Shared {
        cache: cache.clone(),
        window_us: window.map(|window| window.as_micros() as u64),
        state: RwLock::default(),
        changed: Bells::default(),
        begun: AtomicU64::new(0),
        producers: AtomicUsize::new(1),
    });
    Ok((
        Producer {
            shared: shared.clone(),
            fence: None,
        },
        Consumer { shared },
    ))
}

/// The cache carries [`crate::cache::MAX_TRACKS`] tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node carries as many tracks as it may")]
pub struct TooMany;

/// The group's key was there before, or is behind one that was dropped, or the track ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the track is past this group")]
pub struct Stale;

#[derive(Debug)]
pub(crate) struct Shared {
    cache: Cache,
    window_us: Option<u64>,
    state: RwLock<State>,
    changed: Bells,
    /// Counts the groups that got their first frame.
    begun: AtomicU64,
    producers: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// Ascending by key.
    groups: VecDeque<Group>,
    /// The greatest key that was dropped.
    floor: Option<Key>,
    /// Up to here the cache may drop groups.
    superseded: Option<Key>,
    ended: bool,
}

impl State {
    /// Index of the first group after `key`.
    fn after(&self, key: Key) -> usize {
        self.groups.partition_point(|group| group.key() <= key)
    }

    /// Groups with frames, newest first.
    fn begun(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().rev().filter(|group| !group.is_empty())
    }
}

/// Opens groups; a clone writes the same track, which ends with [`Producer::end`] or its last
/// producer.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    fence: Option<Fence>,
}

impl Producer {
    /// Opens a group at its place in the order; where one was aborted, it is seen when it is whole.
    pub fn open_group(&self, header: Header) -> Result<group::Producer, Stale> {
        match &self.fence {
            Some(fence) => fence.pass(|| self.open(header)),
            None => self.open(header),
        }
    }

    /// A producer of the same track that can be stopped between two groups.
    pub fn fenced(&self) -> (Self, Fence) {
        let fence = Fence::default();
        let mut fenced = self.clone();
        fenced.fence = Some(fence.clone());
        (fenced, fence)
    }

    fn open(&self, header: Header) -> Result<group::Producer, Stale> {
        let key = header.key();
        let mut state = self.shared.state.write();
        let index = state.after(key);
        let before = index.checked_sub(1).map(|index| &state.groups[index]);
        let known = before.filter(|group| group.key() == key);
        let mends = known.is_some_and(|group| group.end() == Some(End::Aborted));
        let stale = state.floor.is_some_and(|floor| key <= floor);
        if state.ended || stale || known.is_some() && !mends {
            return Err(Stale);
        }
        let past = state.begun().next().is_some_and(|group| group.key() > key);
        let group = Group::new(header, self.shared.cache.account().clone(), past);
        if mends {
            let shared = self.shared.clone();
            return Ok(group::Producer::new(group, shared, Place::Aside));
        }
        state.groups.insert(index, group.clone());
        let excess = state.groups.len() > MAX_GROUPS;
        let dropped = excess.then(|| state.groups[0].clone());
        drop(state);
        if let Some(dropped) = dropped {
            self.shared.remove(&dropped);
        }
        let shared = self.shared.clone();
        Ok(group::Producer::new(group, shared, Place::Track))
    }

    /// A reader's view of the track.
    pub fn consumer(&self) -> Consumer {
        Consumer {
            shared: self.shared.clone(),
        }
    }

    /// Ends the track: readers read what is there, and no group opens any more.
    pub fn end(self) {
        self.shared.end();
    }
}

impl Clone for Producer {
    fn clone(&self) -> Self {
        self.shared.producers.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: self.shared.clone(),
            fence: self.fence.clone(),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.shared.producers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.end();
        }
    }
}

/// Stops one of a track's writers between two groups while another one takes over; a clone is the
/// same fence.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Mutex<Fenced>>);

#[derive(Debug, Default)]
struct Fenced {
    closed: bool,
    begun: bool,
    /// Those opened through it that may still grow.
    writing: Vec<Group>,
}

impl Fence {
    /// Lets no further group open through it; those that are open go on.
    pub fn close(&self) {
        self.0.lock().closed = true;
    }

    /// Lets groups open again.
    pub fn reopen(&self) {
        self.0.lock().closed = false;
    }

    /// Whether every group that was opened through it has ended.
    pub fn is_idle(&self) -> bool {
        let mut fenced = self.0.lock();
        fenced.settle();
        fenced.writing.is_empty()
    }

    /// Whether a frame came through it.
    pub fn has_begun(&self) -> bool {
        let mut fenced = self.0.lock();
        fenced.settle();
        fenced.begun
    }

    /// Closes it and aborts what is still being written.
    pub fn cut(&self) {
        let mut fenced = self.0.lock();
        fenced.closed = true;
        fenced.writing.drain(..).for_each(|group| group.abort());
    }

    fn pass(
        &self,
        open: impl FnOnce() -> Result<group::Producer, Stale>,
    ) -> Result<group::Producer, Stale> {
        let mut fenced = self.0.lock();
        if fenced.closed {
            return Err(Stale);
        }
        let opened = open()?;
        fenced.settle();
        fenced.writing.push(opened.group().clone());
        Ok(opened)
    }
}

impl Fenced {
    /// Forgets the groups that have ended.
    fn settle(&mut self) {
        self.begun |= self.writing.iter().any(|group| !group.is_empty());
        self.writing.retain(|group| group.end().is_none());
    }
}

/// Finds groups; a clone looks at the same track.
#[derive(Clone, Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
}

impl Consumer {
    /// The newest group with a frame.
    pub fn latest(&self) -> Option<Group> {
        self.shared.state.read().begun().next().cloned()
    }

    /// The first group after `key` with a frame.
    pub fn next_after(&self, key: Key) -> Option<Group> {
        let state = self.shared.state.read();
        state
            .groups
            .range(state.after(key)..)
            .find(|group| !group.is_empty())
            .cloned()
    }

    /// The group at `key`, while the cache has it.
    pub fn group(&self, key: Key) -> Option<Group> {
        let state = self.shared.state.read();
        let index = state.after(key).checked_sub(1)?;
        state
            .groups
            .get(index)
            .filter(|group| group.key() == key)
            .cloned()
    }

    /// Up to `max` groups with frames, newest first.
    pub fn recent(&self, max: usize) -> Vec<Group> {
        self.shared
            .state
            .read()
            .begun()
            .take(max)
            .cloned()
            .collect()
    }

    /// The groups with frames before `before`, oldest first, that began at most `reach` before it,
    /// or before the first that is there after it, by the origin's clock.
    pub fn past(&self, before: Key, reach: Duration) -> Vec<Key> {
        let state = self.shared.state.read();
        let wallclock = |group: &Group| group.header().wallclock_us;
        let end = state.groups.partition_point(|group| group.key() < before);
        let later = state.groups.range(end..).find(|group| !group.is_empty());
        let Some(from) = later.or_else(|| state.begun().next()).map(wallclock) else {
            return Vec::new();
        };
        let reach_us = u64::try_from(reach.as_micros()).unwrap_or(u64::MAX);
        let reached = |group: &&Group| wallclock(group) >= from.saturating_sub(reach_us);
        let groups = state.groups.range(..end).filter(|group| !group.is_empty());
        groups.filter(reached).map(Group::key).collect()
    }

    /// How many groups with frames come after `key`.
    pub fn newer_than(&self, key: Key) -> usize {
        let state = self.shared.state.read();
        state
            .groups
            .range(state.after(key)..)
            .filter(|group| !group.is_empty())
            .count()
    }

    /// How often a group got its first frame: unchanged, the answers above but for evictions are
    /// too.
    pub fn begun(&self) -> u64 {
        self.shared.begun.load(Ordering::Acquire)
    }

    /// A number that no other track has while this one lives.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    /// Whether the producers ended the track; groups that are open may still grow.
    pub fn is_ended(&self) -> bool {
        self.shared.state.read().ended
    }

    /// Whether nothing can come after `key`: the track ended and no later group is open.
    pub fn is_over(&self, key: Option<Key>) -> bool {
        let state = self.shared.state.read();
        let from = key.map_or(0, |key| state.after(key));
        state.ended
            && state
                .groups
                .range(from..)
                .all(|g| g.is_empty() && g.end().is_some())
    }

    /// Whether the group at `key` may still open: it was never there, and nothing behind it was
    /// dropped.
    pub fn may_come(&self, key: Key) -> bool {
        let state = self.shared.state.read();
        !state.ended && state.floor.is_none_or(|floor| key > floor)
    }

    /// What tells of changes from now on.
    pub fn changes(&self) -> Changes {
        Changes(self.shared.changed.hang())
    }
}

/// Tells that a group opened, grew or ended, or that the track ended, since it was made or last
/// told so.
///
/// Waiting allocates nothing. Look at the track after making it and after each time it told:
/// nothing is missed.
#[derive(Debug)]
pub struct Changes(Arc<Bell>);

impl Changes {
    /// Ready once something changed; arms itself anew.
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_rung(cx)
    }

    /// Waits for a change. Cancel-safe.
    pub async fn changed(&mut self) {
        std::future::poll_fn(|cx| self.poll_changed(cx)).await;
    }
}

impl Shared {
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Tells all who wait on the track to look again.
    pub(crate) fn wake(&self) {
        self.changed.ring();
    }

    /// A group got its first frame: those before the newest may be dropped for others, or are out
    /// of the window.
    pub(crate) fn begun(self: &Arc<Self>, group: &Group) {
        let mut state = self.state.write();
        let Some(newest) = state.begun().next().cloned() else {
            return;
        };
        let from = state.superseded.map_or(0, |key| state.after(key));
        let before = state
            .groups
            .range(from..)
            .take_while(|g| g.key() < newest.key());
        let mut superseded: Vec<Group> = before.cloned().collect();
        if group.key() < newest.key() {
            superseded.push(group.clone());
        }
        state.superseded = superseded
            .iter()
            .map(Group::key)
            .chain(state.superseded)
            .max();
        let old = self.outside_window(&state, newest.header().wallclock_us);
        drop(state);
        self.begun.fetch_add(1, Ordering::Release);
        superseded
            .iter()
            .for_each(|group| self.cache.supersede(self, group));
        old.iter().for_each(|group| self.remove(group));
    }

    /// Drops a group from the track and the budget.
    pub(crate) fn remove(&self, group: &Group) {
        let key = group.key();
        let mut state = self.state.write();
        if let Some(index) = state.after(key).checked_sub(1)
            && state.groups[index].is(group)
        {
            state.groups.remove(index);
            state.floor = state.floor.max(Some(key));
        }
        drop(state);
        self.cache.release(group);
        self.wake();
    }

    /// Puts a whole group in the place of the aborted one of its key, if that is still there.
    pub(crate) fn mend(self: &Arc<Self>, whole: &Group) {
        let key = whole.key();
        let mut state = self.state.write();
        let index = state.after(key).checked_sub(1);
        let place = index.map(|index| &mut state.groups[index]);
        let aborted = |group: &&mut Group| group.key() == key && group.end() == Some(End::Aborted);
        let Some(aborted) = place
            .filter(aborted)
            .map(|place| std::mem::replace(place, whole.clone()))
        else {
            return;
        };
        drop(state);
        self.cache.release(&aborted);
        self.cache.supersede(self, whole);
        self.wake();
    }

    fn outside_window(&self, state: &State, newest_us: u64) -> Vec<Group> {
        let Some(window_us) = self.window_us else {
            return Vec::new();
        };
        let ended_before = |next: &Group| next.header().wallclock_us + window_us <= newest_us;
        let ended = state
            .groups
            .iter()
            .skip(1)
            .take_while(|next| ended_before(next))
            .count();
        state.groups.range(..ended).cloned().collect()
    }

    fn end(self: &Arc<Self>) {
        let mut state = self.state.write();
        let already = std::mem::replace(&mut state.ended, true);
        let groups: Vec<Group> = state.groups.iter().cloned().collect();
        drop(state);
        if !already {
            groups
                .iter()
                .for_each(|group| self.cache.supersede(self, group));
            self.wake();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.state
            .get_mut()
            .groups
            .iter()
            .for_each(|group| self.cache.release(group));
        self.cache.account().remove_track();
    }
}

#[cfg(test)]
mod tests;
