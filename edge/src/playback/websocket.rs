//! Hot: WebSocket-FLV: the same tags in binary messages (RFC 6455).
//!
//! A message holds whole tags, as many as were there; players join messages, so where they begin means nothing.
//! Messages are framed here, because a server's frames are unmasked (section 5.1): a head before the payloads, and one
//! vectored write takes them all by reference. Reading, where masks and control frames are, is the library's.
//! A peer that does not take what is written is given up by the connection's own deadline.

use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use fastwebsockets::upgrade::UpgradeFut;
use fastwebsockets::{Frame, OpCode, Role, WebSocketError, WebSocketRead, after_handshake_split};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, sink, split};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Terms;
use super::tags::{Pieces, Tags};
use crate::viewer::{Closed, Viewer};

/// Serves a viewer once its connection is upgraded, to the end.
pub async fn serve(upgrade: UpgradeFut, tags: Tags, viewer: Viewer, terms: Terms) {
    match timeout(UPGRADE_WITHIN, upgrade).await {
        Ok(Ok(socket)) => play(socket.into_inner(), tags, viewer, terms).await,
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
    let mut reading = after_handshake_split(read, sink(), Role::Server).0;
    reading.set_max_message_size(MAX_MESSAGE);
    let why = tokio::select! {
        why = send(write, owed, tags, &mut viewer, terms) => why,
        _ = listen(reading, replies) => Closed::Left,
    };
    viewer.close(why);
}

/// Reads what the viewer sends, which is of no interest but for pings and its goodbye.
async fn listen<R>(
    mut reading: WebSocketRead<R>,
    replies: mpsc::Sender<Reply>,
) -> Result<(), WebSocketError>
where
    R: AsyncRead + Unpin,
{
    let mut reply = |frame: Frame<'_>| {
        let reply = (frame.opcode, Bytes::copy_from_slice(&frame.payload));
        let replies = replies.clone();
        async move { replies.send(reply).await }
    };
    while reading.read_frame(&mut reply).await?.opcode != OpCode::Close {}
    // The goodbye is answered by the writer, who then ends the connection.
    std::future::pending().await
}

/// A control frame to send: its code and payload.
type Reply = (OpCode, Bytes);

async fn send<W>(
    mut write: W,
    mut replies: mpsc::Receiver<Reply>,
    mut tags: Tags,
    viewer: &mut Viewer,
    terms: Terms,
) -> Closed
where
    W: AsyncWrite + Unpin,
{
    let mut message = Pieces::default();
    loop {
        let filling = std::future::poll_fn(|cx| tags.poll_fill(cx, &mut message));
        let written = tokio::select! {
            biased;
            Some((code, payload)) = replies.recv() => {
                let mut reply = Pieces::default();
                reply.push(payload);
                let written = write_message(&mut write, code, &mut reply).await;
                if code == OpCode::Close {
                    return Closed::Left;
                }
                written
            }
            filled = filling => match filled {
                Some(filled) => {
                    viewer.sent(&filled);
                    let written = write_message(&mut write, OpCode::Binary, &mut message).await;
                    rest(&tags, terms.gathering(viewer.among())).await;
                    written
                }
                None => {
                    let mut normal = Pieces::default();
                    normal.push(Bytes::from_static(&CLOSE_NORMAL));
                    let _ = write_message(&mut write, OpCode::Close, &mut normal).await;
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

/// Lets frames gather, unless some are waiting.
async fn rest(tags: &Tags, gathering: Duration) {
    if !gathering.is_zero() && tags.is_exhausted() {
        sleep(gathering).await;
    }
}

/// Writes the payload as one unmasked message, by reference.
async fn write_message<W>(write: &mut W, code: OpCode, payload: &mut Pieces) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    payload.push_front(head(code, bytes::Buf::remaining(payload)));
    write.write_all_buf(payload).await?;
    write.flush().await
}

/// The head of a final, unmasked frame (RFC 6455, section 5.2).
fn head(code: OpCode, length: usize) -> Bytes {
    let mut head = BytesMut::with_capacity(10);
    head.put_u8(FIN | code as u8);
    match length {
        0..=125 => head.put_u8(length as u8),
        126..=0xFFFF => {
            head.put_u8(126);
            head.put_u16(length as u16);
        }
        _ => {
            head.put_u8(127);
            head.put_u64(length as u64);
        }
    }
    head.freeze()
}

const FIN: u8 = 0x80;

/// Status 1000, "normal closure" (RFC 6455, section 7.4.1).
const CLOSE_NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

/// The answer to an upgrade is on its way by then or never: hyper sends it as soon as it is made.
const UPGRADE_WITHIN: Duration = Duration::from_secs(5);

/// A viewer says nothing longer than a ping.
const MAX_MESSAGE: usize = 4 << 10;

/// Pongs that wait for the write before them; then reading waits too.
const MAX_REPLIES: usize = 4;

#[cfg(test)]
mod tests;
