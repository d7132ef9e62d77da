//! Hot: one producer wakes many readers, each by a bell of its own.
//!
//! A reader that waits touches only its bell, so readers on several cores share no lock and no
//! cache line; only the producer walks them all. Bells whose readers are gone are taken down when
//! they are next rung.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// All bells of one producer.
#[derive(Debug, Default)]
pub(crate) struct Bells(Mutex<Vec<Weak<Bell>>>);

/// One reader's bell.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bells {
    /// Hangs a bell that was not rung yet.
    pub(crate) fn hang(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        let mut bells = self.0.lock();
        // So that they stay as few as readers, also where nothing rings for long.
        if bells.len() == bells.capacity() {
            bells.retain(|bell| bell.strong_count() > 0);
        }
        bells.push(Arc::downgrade(&bell));
        bell
    }

    /// Rings them all.
    pub(crate) fn ring(&self) {
        self.0.lock().retain(|bell| {
            let Some(bell) = bell.upgrade() else {
                return false;
            };
            bell.rung.store(true, Ordering::Release);
            bell.waker.wake();
            true
        });
    }
}

impl Bell {
    /// Ready when it was rung since it was hung or last ready.
    pub(crate) fn poll_rung(&self, cx: &Context<'_>) -> Poll<()> {
        if self.rung.swap(false, Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // Between the look and the registration it may have rung.
        match self.rung.swap(false, Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn each_bell_tells_of_what_came_since_it_was_last_looked_at() {
        let bells = Bells::default();
        let (first, second) = (bells.hang(), bells.hang());
        let cx = Context::from_waker(Waker::noop());
        assert!(first.poll_rung(&cx).is_pending());
        bells.ring();
        bells.ring();
        assert!(first.poll_rung(&cx).is_ready() && first.poll_rung(&cx).is_pending());
        assert!(second.poll_rung(&cx).is_ready());
        assert!(bells.hang().poll_rung(&cx).is_pending());
    }

    #[test]
    fn bells_of_readers_who_went_are_taken_down() {
        let bells = Bells::default();
        let stays = bells.hang();
        (0..1_000).for_each(|_| drop(bells.hang()));
        assert!(bells.0.lock().len() < 10);
        bells.ring();
        assert_eq!(bells.0.lock().len(), 1);
        drop(stays);
    }
}
