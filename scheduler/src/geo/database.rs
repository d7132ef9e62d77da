//! Hot: an address in a MaxMind DB file, whatever schema its records have.
//!
//! Reads the nested GeoIP2 records (`country.iso_code`, `location.latitude`, `subdivisions`) and
//! the flat ones of the npm packages (`country_code`, `latitude`, `state1`) with one borrowing
//! serde record. The file is read into memory rather than mapped: an operator who overwrites a
//! mapped file in place would end the process with a bus error.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use maxminddb::{MaxMindDbError, Reader, path};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::centres::{self, Country};
use super::sphere::Point;

/// One open database.
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
}

/// What a database knows of an address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found<'a> {
    /// Country code, when known.
    pub(super) country: Option<Country>,
    /// State code or name, when known.
    pub(super) state: Option<&'a str>,
    /// Coordinates, when known.
    pub(super) point: Option<Point>,
}

impl Database {
    /// Reads and checks the file.
    pub(super) fn open(file: &Path) -> Result<Self, MaxMindDbError> {
        Ok(Self {
            reader: Reader::open_readfile(file)?,
        })
    }

    /// The record of an address. A damaged record counts as none.
    pub(super) fn find(&self, address: IpAddr) -> Option<Found<'_>> {
        let record: Record<'_> = self.reader.lookup(address).ok()?.decode().ok()??;
        let nested = record.location.unwrap_or_default();
        let lat = record.latitude.or(nested.latitude);
        let lon = record.longitude.or(nested.longitude);
        let code = record
            .country_code
            .or(record.country.and_then(|country| country.0));
        Some(Found {
            country: code.and_then(centres::country_key),
            state: record
                .state1
                .or(record.subdivisions.and_then(|states| states.0)),
            point: lat
                .zip(lon)
                .and_then(|(lat, lon)| Point::checked(lat.0, lon.0)),
        })
    }

    /// The city's English name, for people to read.
    pub(super) fn city(&self, address: IpAddr) -> Option<String> {
        let found = self.reader.lookup(address).ok()?;
        let nested = found
            .decode_path::<&str>(&path!["city", "names", "en"])
            .ok()
            .flatten();
        let flat = || found.decode_path::<&str>(&path!["city"]).ok().flatten();
        nested
            .or_else(flat)
            .map(str::to_owned)
            .filter(|name| !name.is_empty())
    }
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    country_code: Option<&'a str>,
    #[serde(borrow)]
    state1: Option<&'a str>,
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
    #[serde(borrow)]
    country: Option<Code<'a>>,
    #[serde(borrow)]
    subdivisions: Option<Code<'a>>,
    location: Option<Location>,
}

#[derive(Default, Deserialize)]
struct Location {
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
}

/// A coordinate in double precision (nested schema) or single (flat); the reader does not widen by
/// itself.
#[derive(Clone, Copy)]
struct Degrees(f64);

impl<'de> Deserialize<'de> for Degrees {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DegreesVisitor).map(Degrees)
    }
}

struct DegreesVisitor;

impl Visitor<'_> for DegreesVisitor {
    type Value = f64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a float or a double")
    }

    fn visit_f32<E: de::Error>(self, degrees: f32) -> Result<f64, E> {
        // Four decimals, 11 metres, are what single precision holds; the rest would be noise.
        Ok((f64::from(degrees) * 1e4).round() / 1e4)
    }

    fn visit_f64<E: de::Error>(self, degrees: f64) -> Result<f64, E> {
        Ok(degrees)
    }
}

/// A code given as text, as a table with `iso_code`, or as a list whose first entry counts.
struct Code<'a>(Option<&'a str>);

impl<'de: 'a, 'a> Deserialize<'de> for Code<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodeVisitor).map(Code)
    }
}

struct CodeVisitor;

impl<'de> Visitor<'de> for CodeVisitor {
    type Value = Option<&'de str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a code, a table with iso_code, or a list of such")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut code = None;
        while let Some(key) = map.next_key::<&str>()? {
            if key == "iso_code" {
                code = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(code)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let first = list.next_element::<Code<'de>>()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first.and_then(|code| code.0))
    }
}
