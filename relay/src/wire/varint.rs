//! Sans-IO: variable-length integers (RFC 9000, section 16), and strings counted by them.

use bytes::BufMut;

use super::Error;

/// The greatest value that can be written.
pub const MAX: u64 = (1 << 62) - 1;

/// Reads a number off the front.
pub fn read(input: &mut &[u8]) -> Result<u64, Error> {
    let first = *input.first().ok_or(Error::Truncated)?;
    let length = length(first);
    let bytes = input.split_off(..length).ok_or(Error::Truncated)?;
    let mut value = u64::from(first & 0x3f);
    for byte in &bytes[1..] {
        value = value << 8 | u64::from(*byte);
    }
    Ok(value)
}

/// Bytes of the number that starts with `first`.
pub fn length(first: u8) -> usize {
    1 << (first >> 6)
}

/// Appends a number of at most [`MAX`] in its shortest form.
pub fn write(out: &mut impl BufMut, value: u64) -> Result<(), Error> {
    match value {
        0..0x40 => out.put_u8(value as u8),
        0x40..0x4000 => out.put_u16(0x4000 | value as u16),
        0x4000..0x4000_0000 => out.put_u32(0x8000_0000 | value as u32),
        0x4000_0000..=MAX => out.put_u64(0xc000_0000_0000_0000 | value),
        _ => return Err(Error::TooLong("number")),
    }
    Ok(())
}

/// Reads a signed number: the lowest bit is the sign.
pub fn read_signed(input: &mut &[u8]) -> Result<i64, Error> {
    let value = read(input)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// Appends a signed number of at most 61 bits.
pub fn write_signed(out: &mut impl BufMut, value: i64) -> Result<(), Error> {
    write(out, ((value << 1) ^ (value >> 63)) as u64)
}

/// Reads a counted run of at most `max` bytes.
pub fn read_bytes<'a>(
    input: &mut &'a [u8],
    max: usize,
    what: &'static str,
) -> Result<&'a [u8], Error> {
    let length = read(input)?;
    if length > max as u64 {
        return Err(Error::TooLong(what));
    }
    input.split_off(..length as usize).ok_or(Error::Truncated)
}

/// Appends a run of bytes after its count.
pub fn write_bytes(out: &mut impl BufMut, bytes: &[u8]) -> Result<(), Error> {
    write(out, bytes.len() as u64)?;
    out.put_slice(bytes);
    Ok(())
}
