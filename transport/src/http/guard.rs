//! A connection's socket with its place among the connections and a deadline on stuck writes.
//!
//! Hot: media to viewers passes here; vectored writes go through unchanged. Only a write that
//! the kernel refuses starts the timer, so a viewer that keeps up costs nothing here. The
//! place goes wherever the socket goes, also through an upgrade. Bytes that were read before
//! hyper had the socket are read again first.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::take::Place;

/// A socket whose writes fail when none has gone through for a while.
#[derive(Debug)]
pub(super) struct Guarded<T> {
    io: T,
    ahead: Bytes,
    stall: Duration,
    /// Made at the first stuck write and kept; it counts only while `stuck`.
    timer: Option<Pin<Box<Sleep>>>,
    stuck: bool,
    _place: Option<Place>,
}

impl<T> Guarded<T> {
    pub(super) fn new(io: T, stall: Duration, place: Option<Place>) -> Self {
        Self {
            io,
            ahead: Bytes::new(),
            stall,
            timer: None,
            stuck: false,
            _place: place,
        }
    }

    /// The same, where these bytes of it were read already.
    pub(super) fn after(self, ahead: Bytes) -> Self {
        Self { ahead, ..self }
    }

    fn watch<R>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if poll.is_ready() {
            self.stuck = false;
            return poll;
        }
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep(self.stall)));
        if !self.stuck {
            self.stuck = true;
            timer.as_mut().reset(Instant::now() + self.stall);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer does not read",
        )))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let ahead = this.ahead.split_to(this.ahead.len().min(buf.remaining()));
        buf.put_slice(&ahead);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.io).poll_write(cx, buf);
        this.watch(cx, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.io).poll_flush(cx);
        this.watch(cx, poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.io).poll_shutdown(cx);
        this.watch(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const STALL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_fails_after_the_stall() {
        let (ours, _theirs) = tokio::io::duplex(4);
        let mut ours = Guarded::new(ours, STALL, None);
        let before = Instant::now();
        let error = ours.write_all(b"longer than four").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(before.elapsed() >= STALL && before.elapsed() < STALL * 2);
    }

    #[tokio::test]
    async fn what_was_read_before_is_read_again_first() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Guarded::new(ours, STALL, None).after(Bytes::from_static(b"read "));
        theirs.write_all(b"before").await.unwrap();
        let mut all = [0; 11];
        ours.read_exact(&mut all[..2]).await.unwrap();
        ours.read_exact(&mut all[2..]).await.unwrap();
        assert_eq!(&all, b"read before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_a_stuck_one() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut ours = Guarded::new(ours, STALL, None);
        let write = tokio::spawn(async move { ours.write_all(&[7; 40]).await });
        for _ in 0..10 {
            tokio::time::sleep(STALL - Duration::from_secs(1)).await;
            theirs.read_exact(&mut [0; 4]).await.unwrap();
        }
        write.await.unwrap().unwrap();
    }
}
