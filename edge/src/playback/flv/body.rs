//! Hot: tags as the body of a response that hyper writes: HTTP/2, and HTTP/1.1 within TLS.
//!
//! Each payload is handed to the connection by reference. On a busy node a body that has given all it had rests for a
//! while, so that several frames share one wake-up and one write. A body that is not polled any more is
//! emptied after a time: HTTP/2 lets a viewer keep a response open without taking it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep};
use transport::drain::Drain;

use crate::playback::Terms;
use crate::playback::tags::{Pieces, Tags};
use crate::viewer::{Closed, Viewer};

/// A response's body.
#[derive(Debug)]
pub struct Body(Arc<Mutex<Option<Playing>>>);

#[derive(Debug)]
struct Playing {
    tags: Tags,
    pieces: Pieces,
    viewer: Viewer,
    terms: Terms,
    rest: Rest,
    /// Since when the connection has had something to write; unset while it waits for the stream.
    owed: Option<Instant>,
    /// When it last was given a picture, or had all there is.
    pictured: Instant,
}

impl Body {
    /// A body for a viewer; its watchdog runs on the drain.
    pub fn new(tags: Tags, viewer: Viewer, terms: Terms, drain: &Drain) -> Self {
        let playing = Playing {
            tags,
            pieces: Pieces::default(),
            viewer,
            terms,
            rest: Rest::default(),
            owed: Some(Instant::now()),
            pictured: Instant::now(),
        };
        let body = Arc::new(Mutex::new(Some(playing)));
        drain.background(watch(Arc::downgrade(&body), terms.close_after));
        Self(body)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Stalled;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Stalled>>> {
        match self.0.lock().as_mut() {
            Some(playing) => playing
                .poll_piece(cx)
                .map(|piece| piece.map(|p| Ok(Frame::data(p)))),
            None => Poll::Ready(Some(Err(Stalled))),
        }
    }
}

/// The viewer took nothing for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the viewer took nothing for too long")]
pub struct Stalled;

impl Playing {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(piece) = self.pieces.pop() {
                self.owed = Some(Instant::now());
                return Poll::Ready(Some(piece));
            }
            self.owed = None;
            if self.rest.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let gathering = self.viewer.gathering();
            let filled = if gathering.is_zero() {
                self.tags.poll_fill(cx, &mut self.pieces)
            } else {
                // The rest that follows wakes the body: a wake-up per frame is what it saves.
                self.tags
                    .poll_fill(&mut Context::from_waker(Waker::noop()), &mut self.pieces)
            };
            match filled {
                Poll::Ready(Some(mut filled)) => {
                    filled.bytes += self.viewer.ask(&mut self.tags, &mut self.pieces);
                    if filled.completed || self.tags.is_exhausted() {
                        self.pictured = Instant::now();
                    }
                    self.viewer.sent(&filled);
                }
                Poll::Ready(None) => {
                    self.viewer.close(Closed::Ended);
                    return Poll::Ready(None);
                }
                Poll::Pending if gathering.is_zero() => return Poll::Pending,
                Poll::Pending => self.rest.begin(gathering),
            }
        }
    }

    /// Why it is hopeless, if it is.
    fn hopeless(&self) -> Option<Closed> {
        let since = self.owed?;
        let long = |at: Instant| at.elapsed() >= self.terms.close_after;
        if long(since) {
            Some(Closed::Stalled)
        } else {
            // What was given last has lain here for less, but no picture was in it.
            long(self.pictured).then_some(Closed::Slow)
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        if let Some(why) = self.hopeless() {
            self.viewer.close(why);
        }
    }
}

/// Lets go of what a viewer holds that does not take it.
async fn watch(playing: Weak<Mutex<Option<Playing>>>, close_after: Duration) {
    loop {
        sleep(close_after / CHECKS).await;
        let Some(playing) = playing.upgrade() else {
            return;
        };
        let mut playing = playing.lock();
        if playing
            .as_ref()
            .is_none_or(|playing| playing.hopeless().is_some())
        {
            *playing = None;
            return;
        }
    }
}

/// A pause between two fillings.
#[derive(Debug, Default)]
struct Rest {
    sleep: Option<Pin<Box<Sleep>>>,
    resting: bool,
}

impl Rest {
    fn begin(&mut self, time: Duration) {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(time)));
        sleep.as_mut().reset(Instant::now() + time);
        self.resting = true;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = self.sleep.as_mut().filter(|_| self.resting) {
            std::task::ready!(sleep.as_mut().poll(cx));
            self.resting = false;
        }
        Poll::Ready(())
    }
}

/// Looks at a viewer within one stall time: it is closed at most a quarter too late.
const CHECKS: u32 = 4;

#[cfg(test)]
mod tests;
