//! AMF0 values (Action Message Format 0, Adobe 2007),
//! the shape of RTMP's commands and of FLV's metadata.
//!
//! Depth, number of values and size are bounded, so that no message costs much
//! more memory than it has bytes. A value behind AMF0's switch marker is read
//! as AMF3 (`amf3`) into the same type; only AMF0 is written. References,
//! movie clips and record sets are refused: no encoder sends them.

mod amf3;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// An AMF value. Object members keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A double; AMF knows no other number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Text. Bytes that are not UTF-8 are replaced when read.
    String(String),
    /// Named members; a typed object is read as one without its class name.
    Object(Vec<(String, Value)>),
    /// Named members behind a count, as `onMetaData` has it.
    EcmaArray(Vec<(String, Value)>),
    /// Values in a row.
    StrictArray(Vec<Value>),
    /// Nothing.
    Null,
    /// Not even nothing.
    Undefined,
    /// Milliseconds since 1970 in UTC.
    Date(f64),
}

/// Why AMF bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end inside a value.
    #[error("AMF value ends too early")]
    Truncated,
    /// Objects inside objects beyond `MAX_DEPTH`.
    #[error("AMF values are nested too deeply")]
    TooDeep,
    /// More than `MAX_VALUES` in one message.
    #[error("AMF message has too many values")]
    TooMany,
    /// A marker that is reserved, unknown or refused.
    #[error("AMF marker {0:#04x} is not supported")]
    Unsupported(u8),
}

impl Value {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// The named members of an object or an ECMA array; none for anything else.
    pub fn members(&self) -> &[(String, Value)] {
        match self {
            Self::Object(members) | Self::EcmaArray(members) => members,
            _ => &[],
        }
    }

    /// The first member of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members()
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// Appends the value as AMF0. Member names are cut
    /// at the 65535 bytes that the format has room for.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Number(number) => {
                out.put_u8(NUMBER);
                out.put_f64(*number);
            }
            Self::Boolean(value) => out.put_slice(&[BOOLEAN, u8::from(*value)]),
            Self::String(text) => put_string(out, text),
            Self::Object(members) => {
                out.put_u8(OBJECT);
                put_members(out, members);
            }
            Self::EcmaArray(members) => {
                out.put_u8(ECMA_ARRAY);
                out.put_u32(members.len() as u32);
                put_members(out, members);
            }
            Self::StrictArray(values) => {
                out.put_u8(STRICT_ARRAY);
                out.put_u32(values.len() as u32);
                values.iter().for_each(|value| value.encode(out));
            }
            Self::Null => out.put_u8(NULL),
            Self::Undefined => out.put_u8(UNDEFINED),
            Self::Date(ms) => {
                out.put_u8(DATE);
                out.put_f64(*ms);
                out.put_i16(0); // time zone, reserved
            }
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

/// Takes one value from the front.
pub fn decode(buf: &mut Bytes) -> Result<Value, Error> {
    Decoder {
        buf,
        budget: MAX_VALUES,
    }
    .value(0)
}

/// Takes values until the bytes end, all within one budget.
pub fn decode_all(mut bytes: Bytes) -> Result<Vec<Value>, Error> {
    let mut decoder = Decoder {
        buf: &mut bytes,
        budget: MAX_VALUES,
    };
    let mut values = Vec::new();
    while decoder.buf.has_remaining() {
        values.push(decoder.value(0)?);
    }
    Ok(values)
}

/// Appends values one after the other.
pub fn encode_all(values: &[Value]) -> Bytes {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| value.encode(&mut out));
    out.freeze()
}

/// The bytes that are left of a message, and how many values may still come out of them.
struct Decoder<'a> {
    buf: &'a mut Bytes,
    budget: usize,
}

impl Decoder<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        self.spend(depth)?;
        Ok(match self.u8()? {
            NUMBER => Value::Number(self.f64()?),
            BOOLEAN => Value::Boolean(self.u8()? != 0),
            STRING => Value::String(self.short_string()?),
            OBJECT => Value::Object(self.members(depth)?),
            NULL => Value::Null,
            UNDEFINED | UNSUPPORTED => Value::Undefined,
            ECMA_ARRAY => {
                self.u32()?; // the count is a hint that encoders get wrong; the end marker rules
                Value::EcmaArray(self.members(depth)?)
            }
            STRICT_ARRAY => Value::StrictArray(self.elements(depth)?),
            DATE => {
                let ms = self.f64()?;
                self.take(2)?; // time zone, reserved
                Value::Date(ms)
            }
            LONG_STRING | XML_DOCUMENT => {
                let length = self.u32()? as usize;
                Value::String(self.text(length)?)
            }
            TYPED_OBJECT => {
                self.short_string()?; // class name
                Value::Object(self.members(depth)?)
            }
            AVMPLUS => amf3::Tables::default().value(self, depth)?,
            marker => return Err(Error::Unsupported(marker)),
        })
    }

    /// Every value passes here once, before it is read.
    fn spend(&mut self, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        self.budget = self.budget.checked_sub(1).ok_or(Error::TooMany)?;
        Ok(())
    }

    /// Members up to the empty name and the end marker, or
    /// to the end of the message: some encoders forget both.
    fn members(&mut self, depth: usize) -> Result<Vec<(String, Value)>, Error> {
        let mut members = Vec::new();
        while self.buf.has_remaining() {
            let name = self.short_string()?;
            if name.is_empty() && self.buf.first() == Some(&OBJECT_END) {
                self.buf.advance(1);
                break;
            }
            members.push((name, self.value(depth + 1)?));
        }
        Ok(members)
    }

    fn elements(&mut self, depth: usize) -> Result<Vec<Value>, Error> {
        let count = self.u32()?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(depth + 1)?);
        }
        Ok(values)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Error> {
        if self.buf.remaining() < length {
            return Err(Error::Truncated);
        }
        Ok(self.buf.split_to(length))
    }

    fn text(&mut self, length: usize) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.take(length)?).into_owned())
    }

    fn short_string(&mut self) -> Result<String, Error> {
        let length = self.buf.try_get_u16().map_err(|_| Error::Truncated)?;
        self.text(usize::from(length))
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.buf.try_get_u8().map_err(|_| Error::Truncated)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.buf.try_get_u32().map_err(|_| Error::Truncated)
    }

    fn f64(&mut self) -> Result<f64, Error> {
        self.buf.try_get_f64().map_err(|_| Error::Truncated)
    }
}

fn put_string(out: &mut BytesMut, text: &str) {
    if text.len() > usize::from(u16::MAX) {
        out.put_u8(LONG_STRING);
        out.put_u32(text.len() as u32);
        out.put_slice(text.as_bytes());
    } else {
        out.put_u8(STRING);
        put_name(out, text);
    }
}

fn put_name(out: &mut BytesMut, name: &str) {
    let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
    out.put_u16(name.len() as u16);
    out.put_slice(name);
}

fn put_members(out: &mut BytesMut, members: &[(String, Value)]) {
    for (name, value) in members {
        put_name(out, name);
        value.encode(out);
    }
    out.put_slice(&[0, 0, OBJECT_END]);
}

/// How deep values may nest. Real commands nest two deep; recursion must fit any thread's stack.
pub const MAX_DEPTH: usize = 16;

/// How many values a message may hold: beyond any real
/// metadata, a recorded file's index of key frames included.
pub const MAX_VALUES: usize = 16 * 1024;

/// AMF0 2.1, type markers.
const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0A;
const DATE: u8 = 0x0B;
const LONG_STRING: u8 = 0x0C;
const UNSUPPORTED: u8 = 0x0D;
const XML_DOCUMENT: u8 = 0x0F;
const TYPED_OBJECT: u8 = 0x10;
const AVMPLUS: u8 = 0x11;

#[cfg(test)]
mod tests;
