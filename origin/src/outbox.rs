//! Hot: bytes that wait for a socket.
//!
//! Holds references and copies nothing; the pieces leave in vectored writes. The bound is the
//! caller's: it stops making more while [`Outbox::bytes`] is above it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Pieces in the order in which they are to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    /// Adds a piece at the end.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// How much waits.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Writes once, as much as the socket takes. Cancel-safe, because a write either happened or
    /// did not.
    pub(crate) async fn write_some<W>(&mut self, socket: &mut W) -> io::Result<usize>
    where
        W: AsyncWrite + Unpin,
    {
        let mut slices = [IoSlice::new(&[]); WRITE_PIECES];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        let written = socket.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written);
        Ok(written)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                return piece.advance(written);
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
    }
}

/// Pieces in one write: enough for 64 KiB of small frames, and half a KiB of stack.
const WRITE_PIECES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_leave_whole_and_in_order_through_a_narrow_pipe() {
        let (mut near, mut far) = tokio::io::duplex(7);
        let mut outbox = Outbox::default();
        let mut expect = Vec::new();
        for length in 0..100_u8 {
            let piece = vec![length; usize::from(length)];
            expect.extend_from_slice(&piece);
            outbox.push(piece.into());
        }
        assert_eq!(outbox.bytes(), expect.len());
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut far, &mut all)
                .await
                .unwrap();
            all
        });
        while !outbox.is_empty() {
            outbox.write_some(&mut near).await.unwrap();
        }
        drop(near);
        assert_eq!(reader.await.unwrap(), expect);
        assert_eq!(outbox.bytes(), 0);
    }
}
