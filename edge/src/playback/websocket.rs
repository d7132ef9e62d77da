//! Hot: WebSocket-FLV: the same tags in binary messages (RFC 6455).
//!
//! A message holds whole tags, as many as were there; players join messages, so where they begin means nothing.
//! A server's frames are unmasked (section 5.1): a head before the payloads, and one vectored write takes them all by
//! reference.
//! A peer that does not take what is written is given up by the connection's own deadline.

mod frame;
pub(crate) mod handshake;

use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use transport::http::{OnUpgrade, TokioIo};

use super::Terms;
use super::tags::{Filled, Pieces, Tags};
use crate::viewer::{Closed, Viewer};
use frame::{Code, head};

/// Serves a viewer once its connection is upgraded, to the end.
pub async fn serve(upgrade: OnUpgrade, tags: Tags, viewer: Viewer, terms: Terms) {
    match timeout(UPGRADE_WITHIN, upgrade).await {
        Ok(Ok(socket)) => play(TokioIo::new(socket), tags, viewer, terms).await,
        Ok(Err(error)) => tracing::debug!(%error, "no websocket"),
        Err(_) => tracing::debug!("no websocket in time"),
    }
}

/// Plays over an upgraded connection.
async fn play<S>(io: S, tags: Tags, mut viewer: Viewer, terms: Terms)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (read, write) = split(io);
    let (replies, owed) = mpsc::channel(MAX_REPLIES);
    let why = tokio::select! {
        why = send(write, owed, Playing::new(tags, terms), &mut viewer) => why,
        _ = listen(read, replies) => Closed::Left,
    };
    viewer.close(why);
}

/// Reads what the viewer sends, which is of no interest but for pings and its goodbye. Ends when it is gone.
async fn listen<R>(mut read: R, replies: mpsc::Sender<Reply>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    let mut input = BytesMut::new();
    loop {
        while let Some((code, payload)) = frame::read(&mut input).map_err(io::Error::other)? {
            let reply = match code {
                Code::Ping => (Code::Pong, payload),
                Code::Close => (Code::Close, payload),
                Code::Continuation | Code::Text | Code::Binary | Code::Pong => continue,
            };
            replies.send(reply).await.map_err(io::Error::other)?;
            if code == Code::Close {
                // It is answered by the writer, who then ends the connection.
                return std::future::pending().await;
            }
        }
        input.reserve(READ_BYTES);
        if read.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// A control frame to send: its code and payload.
type Reply = (Code, Bytes);

async fn send<W>(
    mut write: W,
    mut replies: mpsc::Receiver<Reply>,
    mut playing: Playing,
    viewer: &mut Viewer,
) -> Closed
where
    W: AsyncWrite + Unpin,
{
    let mut message = Pieces::default();
    loop {
        let filling = std::future::poll_fn(|cx| playing.tags.poll_fill(cx, &mut message));
        let written = tokio::select! {
            biased;
            Some((code, payload)) = replies.recv() => {
                let mut reply = Pieces::default();
                reply.push(payload);
                let written = write_message(&mut write, code, &mut reply).await;
                if code == Code::Close {
                    return Closed::Left;
                }
                written
            }
            filled = filling => match filled {
                Some(mut filled) => {
                    filled.bytes += viewer.ask(&mut playing.tags, &mut message);
                    viewer.sent(&filled);
                    if playing.is_slow(&filled) {
                        return Closed::Slow;
                    }
                    let written = write_message(&mut write, Code::Binary, &mut message).await;
                    rest(&playing.tags, viewer.gathering()).await;
                    written
                }
                None => {
                    let mut normal = Pieces::default();
                    normal.push(Bytes::from_static(&CLOSE_NORMAL));
                    let _ = write_message(&mut write, Code::Close, &mut normal).await;
                    return Closed::Ended;
                }
            },
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::TimedOut => return Closed::Stalled,
            Err(_) => return Closed::Left,
        }
    }
}

/// What a viewer is given, and since when without a picture.
struct Playing {
    tags: Tags,
    close_after: Duration,
    pictured: Instant,
}

impl Playing {
    fn new(tags: Tags, terms: Terms) -> Self {
        Self {
            tags,
            close_after: terms.close_after,
            pictured: Instant::now(),
        }
    }

    /// Whether it took so long over what it was given before that it gets no pictures any more.
    fn is_slow(&mut self, filled: &Filled) -> bool {
        if filled.completed || self.tags.is_exhausted() {
            self.pictured = Instant::now();
        }
        self.pictured.elapsed() >= self.close_after
    }
}

/// Lets frames gather, unless some are waiting.
async fn rest(tags: &Tags, gathering: Duration) {
    if !gathering.is_zero() && tags.is_exhausted() {
        sleep(gathering).await;
    }
}

/// Writes the payload as one unmasked message, by reference.
async fn write_message<W>(write: &mut W, code: Code, payload: &mut Pieces) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    payload.push_front(head(code, payload.remaining()));
    write.write_all_buf(payload).await?;
    write.flush().await
}

/// Status 1000, "normal closure" (RFC 6455, section 7.4.1).
const CLOSE_NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

/// The answer to an upgrade is on its way by then or never: hyper sends it as soon as it is made.
const UPGRADE_WITHIN: Duration = Duration::from_secs(5);

/// Room for one read: a viewer says nothing longer than a ping.
const READ_BYTES: usize = 256;

/// Pongs that wait for the write before them; then reading waits too.
const MAX_REPLIES: usize = 4;

#[cfg(test)]
mod tests;
