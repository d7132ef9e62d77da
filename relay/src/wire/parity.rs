//! Sans-IO: a datagram of parity.

use bytes::{BufMut, Bytes, BytesMut};

use super::varint;
use super::{Error, PARITY};
use crate::repair::{MAX_PARITY, MAX_ROWS, MAX_WIDTH};

/// A run of one parity row of a block of a group's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parity {
    /// The QUIC stream.
    pub stream: u64,
    /// The block it is about.
    pub block: Block,
    /// The parity row.
    pub row: usize,
    /// The column of the first byte.
    pub column: usize,
    /// The row's bytes from there on.
    pub bytes: Bytes,
}

/// Bytes of a stream, laid out in rows; the last one may be shorter, and counts as if zeros
/// followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The offset of the first byte.
    pub start: u64,
    /// How many bytes it has.
    pub length: usize,
    /// Bytes of a row.
    pub width: usize,
}

impl Block {
    /// The offset after its last byte.
    pub fn end(&self) -> u64 {
        self.start + self.length as u64
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.length.div_ceil(self.width)
    }

    /// Whether it keeps to the bounds.
    pub fn is_valid(&self) -> bool {
        let widths = 1..=MAX_WIDTH.min(self.length);
        widths.contains(&self.width)
            && self.rows() <= MAX_ROWS
            && self.start <= varint::MAX - self.length as u64
    }
}

/// Bytes of a head whose numbers are all the largest.
const HEAD: usize = 40;

impl Parity {
    /// The head of a datagram, to be followed by the bytes.
    pub fn encode_head(&self) -> Result<BytesMut, Error> {
        let mut out = BytesMut::with_capacity(HEAD + self.bytes.len());
        varint::write(&mut out, PARITY)?;
        varint::write(&mut out, self.stream)?;
        varint::write(&mut out, self.block.start)?;
        varint::write(&mut out, self.block.length as u64)?;
        varint::write(&mut out, self.block.width as u64)?;
        varint::write(&mut out, self.row as u64)?;
        varint::write(&mut out, self.column as u64)?;
        Ok(out)
    }

    /// The whole datagram.
    pub fn encode(&self) -> Result<Bytes, Error> {
        let mut out = self.encode_head()?;
        out.put_slice(&self.bytes);
        Ok(out.freeze())
    }

    /// Reads a datagram; `None` for a type that is not known.
    pub fn decode(datagram: &Bytes) -> Result<Option<Self>, Error> {
        let mut input = &datagram[..];
        if varint::read(&mut input)? != PARITY {
            return Ok(None);
        }
        let stream = varint::read(&mut input)?;
        let mut number = || varint::read(&mut input);
        let (start, length, width) = (number()?, number()?, number()?);
        let block = Block {
            start,
            length: bounded(length, MAX_ROWS * MAX_WIDTH, "block")?,
            width: bounded(width, MAX_WIDTH, "parity row")?,
        };
        let row = bounded(number()?, MAX_PARITY - 1, "parity rows")?;
        let column = bounded(number()?, MAX_WIDTH, "parity row")?;
        if !block.is_valid() {
            return Err(Error::Invalid("block"));
        }
        if input.is_empty() || column + input.len() > block.width {
            return Err(Error::Invalid("parity row"));
        }
        let bytes = datagram.slice(datagram.len() - input.len()..);
        Ok(Some(Self {
            stream,
            block,
            row,
            column,
            bytes,
        }))
    }
}

fn bounded(value: u64, max: usize, what: &'static str) -> Result<usize, Error> {
    if value > max as u64 {
        Err(Error::TooLong(what))
    } else {
        Ok(value as usize)
    }
}
