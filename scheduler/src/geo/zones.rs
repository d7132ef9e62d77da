//! Sans-IO: the coverage-zone file, which says where networks are before any database is asked.
//!
//! Two spellings, told apart by the file's ending: TOML (`[[zone]]` tables with `cidr`, `lat`,
//! `lon`, `name`) and CSV (`cidr,lat,lon,name`, `#` begins a comment). The longest prefix wins.

use std::collections::HashMap;
use std::net::IpAddr;

use cluster::region::Region;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use serde::Deserialize;

use super::sphere::Point;

/// Networks and their places.
#[derive(Default)]
pub(super) struct Zones {
    v4: PrefixMap<Ipv4Net, Zone>,
    v6: PrefixMap<Ipv6Net, Zone>,
    centres: HashMap<Region, Point>,
}

/// A named place that a network is at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Zone {
    /// Where it is.
    pub(super) point: Point,
    /// What the operator calls it.
    pub(super) name: String,
    /// The region of that name, by which its demand is counted.
    pub(super) region: Region,
}

impl Zones {
    /// Reads the TOML spelling.
    pub(super) fn from_toml(text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text)?;
        Self::collect(file.zone.into_iter().map(Ok))
    }

    /// Reads the CSV spelling. A name may hold commas: it is the rest of the line.
    pub(super) fn from_csv(text: &str) -> Result<Self, Error> {
        let lines = text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line.trim()));
        let rows = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        Self::collect(rows.map(|(at, line)| Row::from_csv(line).ok_or(Error::Line(at))))
    }

    /// The zone of the longest prefix that holds the address.
    pub(super) fn find(&self, address: IpAddr) -> Option<&Zone> {
        match address {
            IpAddr::V4(v4) => self.v4.get_lpm(&v4.into()).map(|(_, zone)| zone),
            IpAddr::V6(v6) => self.v6.get_lpm(&v6.into()).map(|(_, zone)| zone),
        }
    }

    /// Where the first zone of that region is.
    pub(super) fn centre(&self, region: Region) -> Option<Point> {
        self.centres.get(&region).copied()
    }

    fn collect(rows: impl Iterator<Item = Result<Row, Error>>) -> Result<Self, Error> {
        let mut zones = Self::default();
        for (count, row) in rows.enumerate() {
            if count == MAX_ZONES {
                return Err(Error::TooMany);
            }
            zones.insert(row?)?;
        }
        Ok(zones)
    }

    fn insert(&mut self, row: Row) -> Result<(), Error> {
        let point = Point::checked(row.lat, row.lon).ok_or(Error::Range(row.cidr))?;
        let zone = Zone {
            point,
            region: Region::named(&row.name),
            name: row.name,
        };
        self.centres.entry(zone.region).or_insert(zone.point);
        match row.cidr {
            IpNet::V4(net) => self.v4.insert(net.trunc(), zone),
            IpNet::V6(net) => self.v6.insert(net.trunc(), zone),
        };
        Ok(())
    }
}

/// Why a coverage-zone file was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Not TOML of the expected shape.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// A CSV line that is not `cidr,lat,lon,name`.
    #[error("line {0} is not `cidr,lat,lon,name`")]
    Line(usize),
    /// Coordinates outside the globe.
    #[error("zone {0} has coordinates out of range")]
    Range(IpNet),
    /// More zones than a node is willing to hold.
    #[error("more than {MAX_ZONES} zones")]
    TooMany,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    zone: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    cidr: IpNet,
    lat: f64,
    lon: f64,
    #[serde(default)]
    name: String,
}

impl Row {
    fn from_csv(line: &str) -> Option<Self> {
        let mut fields = line.splitn(4, ',').map(str::trim);
        Some(Self {
            cidr: fields.next()?.parse().ok()?,
            lat: fields.next()?.parse().ok()?,
            lon: fields.next()?.parse().ok()?,
            name: fields.next().unwrap_or_default().to_owned(),
        })
    }
}

/// About 100 MB of tree; the global routing table has a million prefixes, an operator's map far
/// fewer.
const MAX_ZONES: usize = 500_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CSV: &str = "# office\n10.0.0.0/8, 50.1, 8.7, Frankfurt, am Main\n\n10.1.0.0/16,31,121\n\
                       fd00::/8,39.0,-77.5,Virginia\n";

    #[test]
    fn the_longest_prefix_wins_in_both_spellings() {
        let toml = "[[zone]]\ncidr = \"10.0.0.0/8\"\nlat = 50.1\nlon = 8.7\n\
                    name = \"Frankfurt, am Main\"\n\
                    [[zone]]\ncidr = \"10.1.0.0/16\"\nlat = 31\nlon = 121\n\
                    [[zone]]\ncidr = \"fd00::/8\"\nlat = 39.0\nlon = -77.5\nname = \"Virginia\"\n";
        for zones in [
            Zones::from_csv(CSV).unwrap(),
            Zones::from_toml(toml).unwrap(),
        ] {
            let name = |address: &str| zones.find(address.parse().unwrap()).map(|z| z.name.clone());
            assert_eq!(name("10.2.3.4").as_deref(), Some("Frankfurt, am Main"));
            assert_eq!(name("10.1.3.4").as_deref(), Some(""));
            assert_eq!(name("fd12::1").as_deref(), Some("Virginia"));
            assert_eq!(name("11.0.0.1"), None);
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, line) in [("10.0.0.0/8,1,2,a\nnonsense", 2), ("10.0.0.0/33,1,2", 1)] {
            let refused = Zones::from_csv(text).err().unwrap();
            assert!(
                matches!(refused, Error::Line(at) if at == line),
                "{refused}"
            );
        }
        assert!(matches!(
            Zones::from_csv("10.0.0.0/8,91,0,x"),
            Err(Error::Range(_))
        ));
        assert!(matches!(
            Zones::from_toml("[[zone]]\ncidr = 1"),
            Err(Error::Toml(_))
        ));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "[ -~\n]{0,200}") {
            let _ = Zones::from_csv(&text);
            let _ = Zones::from_toml(&text);
        }
    }
}
