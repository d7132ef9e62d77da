//! AMF3 values (Action Message Format 3, Adobe 2013) where AMF0 switches to them.
//!
//! Strings and traits may be referred to again. References to whole
//! objects are refused, because a few of them unfold without end, and
//! so are byte arrays, vectors and dictionaries: no command uses any.

use super::{Decoder, Error, Value};
use std::rc::Rc;

/// What later parts of a value may refer to by number (AMF3 2.2).
#[derive(Default)]
pub(super) struct Tables {
    strings: Vec<Rc<str>>,
    traits: Vec<Rc<Traits>>,
}

/// The names that an object's values belong to, in order, and whether more names follow them.
struct Traits {
    names: Vec<Rc<str>>,
    dynamic: bool,
}

impl Tables {
    pub(super) fn value(&mut self, from: &mut Decoder<'_>, depth: usize) -> Result<Value, Error> {
        from.spend(depth)?;
        Ok(match from.u8()? {
            UNDEFINED => Value::Undefined,
            NULL => Value::Null,
            FALSE => Value::Boolean(false),
            TRUE => Value::Boolean(true),
            // 3.6: 29 bits in two's complement.
            INTEGER => Value::Number(f64::from(((from.u29()? << 3) as i32) >> 3)),
            DOUBLE => Value::Number(from.f64()?),
            STRING => Value::String(self.string(from)?.to_string()),
            DATE => {
                inline(from.u29()?, DATE)?;
                Value::Date(from.f64()?)
            }
            ARRAY => self.array(from, depth)?,
            OBJECT => self.object(from, depth)?,
            marker => return Err(Error::Unsupported(marker)),
        })
    }

    /// UTF-8-vr (1.3.2): a length and text, or the number of an earlier text.
    fn string(&mut self, from: &mut Decoder<'_>) -> Result<Rc<str>, Error> {
        let head = from.u29()?;
        if head & 1 == 0 {
            let known = self
                .strings
                .get(head as usize >> 1)
                .ok_or(Error::Unsupported(STRING))?;
            from.charge(known)?;
            return Ok(known.clone());
        }
        let text: Rc<str> = from.text(head as usize >> 1)?.into();
        if !text.is_empty() {
            self.strings.push(text.clone());
        }
        Ok(text)
    }

    /// 3.11: named members first, then values in a row; only one of the two kinds is kept.
    fn array(&mut self, from: &mut Decoder<'_>, depth: usize) -> Result<Value, Error> {
        let count = inline(from.u29()?, ARRAY)?;
        let members = self.members(from, depth)?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(from, depth + 1)?);
        }
        Ok(if members.is_empty() {
            Value::StrictArray(values)
        } else {
            Value::EcmaArray(members)
        })
    }

    /// 3.12: traits by reference or in full, then their values, then dynamic members.
    fn object(&mut self, from: &mut Decoder<'_>, depth: usize) -> Result<Value, Error> {
        let head = inline(from.u29()?, OBJECT)?;
        let traits = self.traits(from, head)?;
        let mut members = Vec::new();
        for name in &traits.names {
            from.charge(name)?;
            members.push((name.to_string(), self.value(from, depth + 1)?));
        }
        if traits.dynamic {
            members.extend(self.members(from, depth)?);
        }
        Ok(Value::Object(members))
    }

    fn traits(&mut self, from: &mut Decoder<'_>, head: u32) -> Result<Rc<Traits>, Error> {
        if head & 1 == 0 {
            let known = self.traits.get(head as usize >> 1);
            return known.cloned().ok_or(Error::Unsupported(OBJECT));
        }
        if head & 2 != 0 {
            return Err(Error::Unsupported(OBJECT)); // externalizable: only its class can read it
        }
        self.string(from)?; // class name
        let mut names = Vec::new();
        for _ in 0..head >> 3 {
            from.spend(0)?;
            names.push(self.string(from)?);
        }
        let traits = Rc::new(Traits {
            names,
            dynamic: head & 4 != 0,
        });
        self.traits.push(traits.clone());
        Ok(traits)
    }

    fn members(
        &mut self,
        from: &mut Decoder<'_>,
        depth: usize,
    ) -> Result<Vec<(String, Value)>, Error> {
        let mut members = Vec::new();
        loop {
            let name = self.string(from)?;
            if name.is_empty() {
                return Ok(members);
            }
            members.push((name.to_string(), self.value(from, depth + 1)?));
        }
    }
}

impl Decoder<'_> {
    /// A repeated text costs memory without bytes on the wire:
    /// it is paid for as the values it weighs as much as.
    fn charge(&mut self, text: &str) -> Result<(), Error> {
        let values = text.len() / size_of::<Value>();
        self.budget = self.budget.checked_sub(values).ok_or(Error::TooMany)?;
        Ok(())
    }

    /// U29 (1.3.1): seven bits a byte, the fourth byte holds eight.
    fn u29(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for _ in 0..3 {
            let byte = u32::from(self.u8()?);
            if byte & 0x80 == 0 {
                return Ok(value << 7 | byte);
            }
            value = value << 7 | byte & 0x7F;
        }
        Ok(value << 8 | u32::from(self.u8()?))
    }
}

/// The rest of a head whose lowest bit says that the value follows; a reference is refused.
fn inline(head: u32, marker: u8) -> Result<u32, Error> {
    if head & 1 == 1 {
        Ok(head >> 1)
    } else {
        Err(Error::Unsupported(marker))
    }
}

/// AMF3 2.1 and 3.1, type markers.
const UNDEFINED: u8 = 0x00;
const NULL: u8 = 0x01;
const FALSE: u8 = 0x02;
const TRUE: u8 = 0x03;
const INTEGER: u8 = 0x04;
const DOUBLE: u8 = 0x05;
const STRING: u8 = 0x06;
const DATE: u8 = 0x08;
const ARRAY: u8 = 0x09;
const OBJECT: u8 = 0x0A;
