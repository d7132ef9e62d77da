//! Hot: where an address is: coverage zones, then databases, then a centre, then the default.
//!
//! A lookup reads one immutable view behind an atomic pointer and allocates nothing. Files are
//! watched and reloaded off the request path; a file that does not load leaves the view before it
//! in force. Private and loopback addresses are never looked up in a database.

mod centres;
mod database;
mod sphere;
mod zones;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use arc_swap::ArcSwap;
use cluster::node::Place;
use cluster::region::Region;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use database::Database;
use zones::Zones;

pub use sphere::{Point, Unit};

/// The `[geo]` table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Geo")]
pub struct Config {
    /// MaxMind DB files, asked in this order until one knows the address (some vendors keep IPv4
    /// and IPv6 apart).
    pub databases: Vec<PathBuf>,
    /// Coverage-zone file, asked before the databases: `.csv` lines of `cidr,lat,lon,name`, or TOML
    /// with `[[zone]]` tables.
    pub zones: Option<PathBuf>,
    /// Where viewers of unknown address are taken to be; the scheduler's own place when absent.
    pub default: Option<Point>,
}

/// Turns addresses into places.
pub struct Geo {
    config: Config,
    fallback: Point,
    data: ArcSwap<Data>,
}

/// Where an address is, and how well that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Located {
    /// The coordinates.
    pub point: Point,
    /// Two capital letters, when a database named the country.
    pub country: Option<[u8; 2]>,
    /// By what its demand is counted: the zone, else the state of a large country, else the
    /// country.
    pub region: Region,
    /// What the coordinates come from.
    pub source: Source,
}

/// What a place was read from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The coverage-zone file.
    Zone,
    /// Coordinates of the address in a database.
    Database,
    /// The centre of its state.
    State,
    /// The centre of its country.
    Country,
    /// Nothing is known: the configured default.
    Default,
}

impl Source {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Zone,
        Self::Database,
        Self::State,
        Self::Country,
        Self::Default,
    ];

    /// The source as it stands in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Database => "database",
            Self::State => "state",
            Self::Country => "country",
            Self::Default => "default",
        }
    }

    /// Whether the place stands for a whole state, country or the unknown.
    pub fn is_approximate(self) -> bool {
        matches!(self, Self::State | Self::Country | Self::Default)
    }
}

impl Located {
    /// The country as text, empty when unknown.
    pub fn country_code(&self) -> &str {
        let letters = self.country.as_ref().map(|code| code.as_slice());
        letters
            .and_then(|code| std::str::from_utf8(code).ok())
            .unwrap_or("")
    }
}

impl Geo {
    /// Opens every configured file; `own` is the place used when no default is configured.
    pub fn load(config: Config, own: &Place) -> anyhow::Result<Self> {
        let own = Point {
            lat: own.lat,
            lon: own.lon,
        };
        let fallback = config.default.unwrap_or(own);
        Point::checked(fallback.lat, fallback.lon).context("[geo] default is not on the globe")?;
        let data = ArcSwap::from_pointee(Data::open(&config)?);
        Ok(Self {
            config,
            fallback,
            data,
        })
    }

    /// Where the address is.
    pub fn locate(&self, address: IpAddr) -> Located {
        let address = address.to_canonical();
        let data = self.data.load();
        data.locate(address).unwrap_or(Located {
            point: self.fallback,
            country: None,
            region: Region::UNKNOWN,
            source: Source::Default,
        })
    }

    /// Where most viewers of a region are taken to be: at its zone, its centre, or where viewers of
    /// unknown address are.
    pub fn centre(&self, region: Region) -> Point {
        let zone = self.data.load().zones.centre(region);
        let text = region.as_str();
        let (country, state) = text.split_once('-').unwrap_or((text, ""));
        let country: Option<[u8; 2]> = country.as_bytes().try_into().ok();
        let state = || country.and_then(|country| centres::of_state(country, state));
        zone.or_else(|| state().map(|(_, centre)| centre))
            .or_else(|| country.and_then(centres::of_country))
            .unwrap_or(self.fallback)
    }

    /// The name of the place, for people: the zone's, the city's, else empty.
    pub fn name(&self, address: IpAddr) -> String {
        let address = address.to_canonical();
        let data = self.data.load();
        match data.zones.find(address) {
            Some(zone) => zone.name.clone(),
            None if !is_public(address) => String::new(),
            None => data
                .databases
                .iter()
                .find_map(|it| it.city(address))
                .unwrap_or_default(),
        }
    }

    /// Reloads changed files until cancelled.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = fingerprint(&self.config);
        while stop
            .run_until_cancelled(tokio::time::sleep(WATCH_EVERY))
            .await
            .is_some()
        {
            let geo = self.clone();
            let check = tokio::task::spawn_blocking(move || geo.reload_if_changed(seen));
            seen = check.await.expect("reading a file does not panic");
        }
    }

    fn reload_if_changed(&self, seen: Fingerprint) -> Fingerprint {
        let now = fingerprint(&self.config);
        if now != seen {
            match Data::open(&self.config) {
                Ok(data) => {
                    self.data.store(Arc::new(data));
                    tracing::info!("geo files reloaded");
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "geo files kept as were")
                }
            }
        }
        now
    }
}

/// How soon a changed file is noticed; a `stat` per file costs nothing at this rate.
const WATCH_EVERY: Duration = Duration::from_secs(5);

struct Data {
    zones: Zones,
    databases: Vec<Database>,
}

impl Data {
    fn open(config: &Config) -> anyhow::Result<Self> {
        let zones = config
            .zones
            .as_deref()
            .map(open_zones)
            .transpose()?
            .unwrap_or_default();
        let open = |file: &PathBuf| {
            Database::open(file).with_context(|| format!("geo database {}", file.display()))
        };
        Ok(Self {
            zones,
            databases: config
                .databases
                .iter()
                .map(open)
                .collect::<Result<_, _>>()?,
        })
    }

    fn locate(&self, address: IpAddr) -> Option<Located> {
        if let Some(zone) = self.zones.find(address) {
            return Some(Located {
                point: zone.point,
                country: None,
                region: zone.region,
                source: Source::Zone,
            });
        }
        if !is_public(address) {
            return None;
        }
        self.databases.iter().find_map(|database| {
            let found = database.find(address)?;
            let country = found.country;
            let state = country.zip(found.state);
            let state = state.and_then(|(country, state)| centres::of_state(country, state));
            let centre = || country.and_then(centres::of_country);
            let (point, source) = (found.point.map(|point| (point, Source::Database)))
                .or_else(|| state.map(|(_, point)| (point, Source::State)))
                .or_else(|| centre().map(|point| (point, Source::Country)))?;
            Some(Located {
                point,
                country,
                region: region(country, state.map(|(code, _)| code)),
                source,
            })
        })
    }
}

fn region(country: Option<[u8; 2]>, state: Option<&str>) -> Region {
    let Some(&[a, b]) = country.as_ref() else {
        return Region::UNKNOWN;
    };
    let mut text = [a, b, b'-', 0, 0, 0];
    let state = state.unwrap_or_default().as_bytes();
    let length = if state.is_empty() || state.len() > 3 {
        2
    } else {
        text[3..3 + state.len()].copy_from_slice(state);
        3 + state.len()
    };
    let text = std::str::from_utf8(&text[..length]).ok();
    text.and_then(Region::parse).unwrap_or_default()
}

fn open_zones(file: &Path) -> anyhow::Result<Zones> {
    let context = || format!("coverage zones {}", file.display());
    let text = std::fs::read_to_string(file).with_context(context)?;
    let csv = file
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let zones = if csv {
        Zones::from_csv(&text)
    } else {
        Zones::from_toml(&text)
    };
    zones.with_context(context)
}

type Fingerprint = Vec<Option<(SystemTime, u64)>>;

fn fingerprint(config: &Config) -> Fingerprint {
    let stat = |file: &PathBuf| {
        let meta = std::fs::metadata(file).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    config
        .databases
        .iter()
        .chain(&config.zones)
        .map(stat)
        .collect()
}

/// Whether a database can know the address at all.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64; // RFC 6598
            let local = v4.is_private() || v4.is_loopback() || v4.is_link_local();
            !(local || shared || v4.is_unspecified())
        }
        IpAddr::V6(v6) => {
            let local = v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local();
            !(local || v6.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests;
