//! Sans-IO: what repairs a lost packet before its retransmission can arrive.
//!
//! Behind the bytes of a group's stream the sender sends parity of them in datagrams
//! (docs/protocols.md, "Parity"); a receiver that misses some of the bytes solves for them. A block
//! of the stream is laid out in rows of about what a packet carries, and a parity row is a sum over
//! the rows, byte by byte: `k` parity rows repair `k` lost packets, wherever QUIC cut the stream.
//! How much is sent follows the loss that is measured ([`Pace`]): nothing on a path that loses
//! nothing. Parity is never needed: what it does not repair, QUIC retransmits.

mod code;
mod encoder;
mod pace;
mod ranges;
mod window;

pub use encoder::{Encoder, Path};
pub use pace::Pace;
pub use window::{Overrun, Window};

/// Rows of a block: the rows and their parity are elements of GF(256), and a block of them, 180 KB,
/// is a large key frame.
pub const MAX_ROWS: usize = 128;

/// Parity rows of a block: 12 % of the largest, four times the loss that it can be asked to repair.
pub const MAX_PARITY: usize = 16;

/// Bytes of a row: what fits in a packet of an Ethernet frame.
pub const MAX_WIDTH: usize = 1500;

#[cfg(test)]
mod tests;
