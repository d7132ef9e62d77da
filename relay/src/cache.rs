//! Hot: one byte budget for all groups of a node.
//!
//! Every append reserves its bytes first. Over the budget, superseded groups leave their tracks:
//! the oldest closed one of all tracks first, and only when none is left the oldest that is still
//! being written. The newest group of a live track always stays; when those alone exceed the
//! budget, the group that wants to grow is the one that is dropped, so the budget is a hard bound
//! of what tracks hold. Old is what the origin's clock says, not when it came here: a group that is
//! fetched of the past displaces nothing younger.
//!
//! A dropped group is freed when its last reader lets go: what readers still hold is counted in
//! [`Cache::held_bytes`] and bounded by the readers' own limits, not by the budget. Payloads that a
//! writer took from a group are the writer's to count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::group::{Age, Group};
use crate::track;

/// Tracks that may live at once in one cache: a node carries thousands of streams, not more than
/// this.
pub const MAX_TRACKS: usize = 16_384;

/// The budget; a clone is a reference to the same one.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    account: Arc<Account>,
    /// Groups that a newer one of their track follows, or whose track ended, by age.
    superseded: Mutex<BTreeMap<Age, Superseded>>,
}

#[derive(Debug)]
struct Superseded {
    track: Weak<track::Shared>,
    group: Group,
}

impl Cache {
    /// A budget of `max_bytes` for the groups of all its tracks.
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Shared {
            account: Arc::new(Account {
                max_bytes,
                ..Account::default()
            }),
            superseded: Mutex::default(),
        }))
    }

    /// Bytes of the groups in tracks.
    pub fn bytes(&self) -> usize {
        self.0.account.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of dropped groups that readers still hold.
    pub fn held_bytes(&self) -> usize {
        self.0.account.held.load(Ordering::Relaxed)
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.0.account
    }

    /// Takes `bytes` for a group from the budget, dropping older ones for them; false when that is
    /// not enough.
    pub(crate) fn reserve(&self, bytes: usize, group: &Group) -> bool {
        let account = &self.0.account;
        account.bytes.fetch_add(bytes, Ordering::Relaxed);
        while self.bytes() > account.max_bytes {
            let Some(victim) = self.oldest(group) else {
                account.give_back(bytes);
                return false;
            };
            match victim.track.upgrade() {
                Some(track) => track.remove(&victim.group),
                None => victim.group.let_go(),
            }
        }
        true
    }

    /// Marks a group as one that may be dropped for others.
    pub(crate) fn supersede(&self, track: &Arc<track::Shared>, group: &Group) {
        let mut superseded = self.0.superseded.lock();
        if group.is_cached() {
            let track = Arc::downgrade(track);
            superseded.insert(
                group.age(),
                Superseded {
                    track,
                    group: group.clone(),
                },
            );
        }
    }

    /// Lets a group go that left its track.
    pub(crate) fn release(&self, group: &Group) {
        // Before the entry is removed: `supersede` then either sees it or was there before.
        group.let_go();
        self.0.superseded.lock().remove(&group.age());
    }

    /// The group to drop so that another can grow.
    fn oldest(&self, growing: &Group) -> Option<Superseded> {
        let mut superseded = self.0.superseded.lock();
        let closed = superseded
            .iter()
            .find(|(_, entry)| entry.group.end().is_some());
        let age = *closed.or_else(|| superseded.first_key_value())?.0;
        if growing.is_past() && age > growing.age() {
            return None;
        }
        superseded.remove(&age)
    }
}

/// The cache's counters, which outlive it in the groups that are still held.
#[derive(Debug, Default)]
pub(crate) struct Account {
    max_bytes: usize,
    bytes: AtomicUsize,
    held: AtomicUsize,
    tracks: AtomicUsize,
    ages: AtomicU64,
}

impl Account {
    /// Counts the groups that the cache saw.
    pub(crate) fn next_age(&self) -> u64 {
        self.ages.fetch_add(1, Ordering::Relaxed)
    }

    /// Bytes leave the budget with the memory they stood for.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes leave the budget while readers may still hold them.
    pub(crate) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.give_back(bytes);
    }

    /// The last reader let held bytes go.
    pub(crate) fn freed(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts a track in; false when there are [`MAX_TRACKS`].
    pub(crate) fn add_track(&self) -> bool {
        let add = |tracks| (tracks < MAX_TRACKS).then_some(tracks + 1);
        self.tracks
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    /// Counts a track out.
    pub(crate) fn remove_track(&self) {
        self.tracks.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
