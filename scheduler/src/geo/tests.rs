//! Databases of both schemas made on the spot, zones, centres, and files that change.

use std::collections::BTreeMap;

use maxminddb_writer::Database as Writer;
use maxminddb_writer::paths::IpAddrWithMask;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::*;

fn own() -> Place {
    Place {
        lat: 1.0,
        lon: 2.0,
        ..Place::default()
    }
}

/// A record whose coordinates are written in single precision, as the flat databases have them.
struct Flat(Value);

impl Serialize for Flat {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.as_object().unwrap();
        to.collect_map(fields.iter().map(|(name, value)| match value.as_f64() {
            Some(number) => (name, Field::Single(number as f32)),
            None => (name, Field::Other(value)),
        }))
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Single(f32),
    Other(&'a Value),
}

fn write_flat(file: &Path, records: &[(&str, Value)]) {
    let flat: Vec<_> = records
        .iter()
        .map(|(net, value)| (*net, Flat(value.clone())))
        .collect();
    write_database(file, &flat);
}

fn write_database<T: Serialize>(file: &Path, records: &[(&str, T)]) {
    let mut writer = Writer::default();
    for (net, record) in records {
        let data = writer.insert_value(record).unwrap();
        writer.insert_node(net.parse::<IpAddrWithMask>().unwrap(), data);
    }
    writer.metadata.binary_format_major_version = 2;
    writer.metadata.ip_version = maxminddb_writer::metadata::IpVersion::V4;
    let file = std::fs::File::create(file).unwrap();
    writer.write_to(file).unwrap();
}

fn nested() -> Vec<(&'static str, Value)> {
    let names = |name: &str| json!({"names": {"de": "x", "en": name, "zh-CN": "y"}});
    vec![
        (
            "81.0.0.0/8",
            json!({"city": names("Berlin"),
                   "country": {"iso_code": "DE", "names": {"en": "Germany"}},
                   "location": {"latitude": 52.5, "longitude": 13.4, "accuracy_radius": 20}}),
        ),
        (
            "82.0.0.0/8",
            json!({"country": {"geoname_id": 1, "iso_code": "US"},
                   "subdivisions": [{"iso_code": "VA", "names": {"en": "Virginia"}},
                                    {"iso_code": "X"}]}),
        ),
        ("83.0.0.0/8", json!({"country": {"iso_code": "US"}})),
        ("84.0.0.0/8", json!({"traits": {"is_anycast": true}})),
    ]
}

fn flat() -> Vec<(&'static str, Value)> {
    vec![
        (
            "81.0.0.0/8",
            json!({"city": "Berlin", "country_code": "DE", "latitude": 52.5, "longitude": 13.4,
                   "state1": "Land Berlin", "postcode": "", "timezone": ""}),
        ),
        (
            "82.0.0.0/8",
            json!({"country_code": "US", "state1": "Virginia", "city": ""}),
        ),
        ("83.0.0.0/8", json!({"country_code": "US"})),
        ("84.0.0.0/8", json!({"country_code": "ZZ"})),
    ]
}

fn load(config: Config) -> Geo {
    Geo::load(config, &own()).unwrap()
}

#[test]
fn both_schemas_give_the_same_places() {
    let dir = tempfile::tempdir().unwrap();
    let (virginia, states) = ((37.33, -76.68), (38.79, -93.52));
    write_database(&dir.path().join("nested"), &nested());
    write_flat(&dir.path().join("flat"), &flat());
    for name in ["nested", "flat"] {
        let file = dir.path().join(name);
        let geo = load(Config {
            databases: vec![file],
            ..Config::default()
        });
        for (address, point, country, source, city) in [
            ("81.1.2.3", (52.5, 13.4), "DE", Source::Database, "Berlin"),
            (
                "::ffff:81.1.2.3",
                (52.5, 13.4),
                "DE",
                Source::Database,
                "Berlin",
            ),
            ("82.1.2.3", virginia, "US", Source::State, ""),
            ("83.1.2.3", states, "US", Source::Country, ""),
            ("84.1.2.3", (1.0, 2.0), "", Source::Default, ""),
            ("9.9.9.9", (1.0, 2.0), "", Source::Default, ""),
            ("2001:db8::1", (1.0, 2.0), "", Source::Default, ""),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let located = geo.locate(address);
            let seen = (located.country_code(), located.source, geo.name(address));
            assert_eq!(seen, (country, source, city.to_owned()), "{name} {address}");
            assert_eq!(
                located.point,
                Point::checked(point.0, point.1).unwrap(),
                "{name} {address}"
            );
        }
    }
}

#[test]
fn only_places_with_coordinates_of_their_own_are_exact() {
    let table = BTreeMap::from([
        ("zone", (Source::Zone, false)),
        ("database", (Source::Database, false)),
        ("state", (Source::State, true)),
        ("country", (Source::Country, true)),
        ("default", (Source::Default, true)),
    ]);
    for (name, (source, approximate)) in table {
        assert_eq!(source.is_approximate(), approximate, "{name}");
        assert_eq!(serde_json::to_value(source).unwrap(), name);
        assert_eq!(
            (source.as_str(), Source::ALL[source as usize]),
            (name, source)
        );
    }
}

#[test]
fn zones_come_before_databases_and_hold_for_private_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let (database, zones) = (dir.path().join("db"), dir.path().join("zones.csv"));
    write_database(&database, &[("10.0.0.0/8", json!({"country_code": "DE"}))]);
    std::fs::write(
        &zones,
        "81.5.0.0/16,31.2,121.5,Shanghai\n127.0.0.0/8,39.0,-77.5,Here\n",
    )
    .unwrap();
    let default = Some(Point {
        lat: 50.0,
        lon: 8.0,
    });
    let geo = load(Config {
        databases: vec![database],
        zones: Some(zones),
        default,
    });
    for (address, lat, source, name) in [
        ("81.5.1.1", 31.2, Source::Zone, "Shanghai"),
        ("127.0.0.1", 39.0, Source::Zone, "Here"),
        ("10.1.1.1", 50.0, Source::Default, ""),
        ("fd00::1", 50.0, Source::Default, ""),
    ] {
        let address: IpAddr = address.parse().unwrap();
        let located = geo.locate(address);
        let seen = (located.point.lat, located.source, geo.name(address));
        assert_eq!(seen, (lat, source, name.to_owned()), "{address}");
    }
}

#[test]
fn a_later_database_is_asked_for_what_an_earlier_one_does_not_know() {
    let dir = tempfile::tempdir().unwrap();
    let files = [dir.path().join("a"), dir.path().join("b")];
    write_database(&files[0], &[("81.0.0.0/8", json!({"country_code": "DE"}))]);
    write_database(&files[1], &[("91.0.0.0/8", json!({"country_code": "FR"}))]);
    let geo = load(Config {
        databases: files.to_vec(),
        ..Config::default()
    });
    for (address, country) in [("81.0.0.1", "DE"), ("91.0.0.1", "FR")] {
        assert_eq!(geo.locate(address.parse().unwrap()).country_code(), country);
    }
}

#[test]
fn a_changed_file_is_taken_and_a_bad_one_leaves_the_old_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("db");
    let country = |geo: &Geo| {
        geo.locate("81.0.0.1".parse().unwrap())
            .country_code()
            .to_owned()
    };
    write_database(&file, &[("81.0.0.0/8", json!({"country_code": "DE"}))]);
    let geo = load(Config {
        databases: vec![file.clone()],
        ..Config::default()
    });
    let seen = fingerprint(&geo.config);

    std::fs::write(&file, "half a file").unwrap();
    let seen = geo.reload_if_changed(seen);
    assert_eq!(country(&geo), "DE");

    write_database(
        &file,
        &[("81.0.0.0/8", json!({"country_code": "FR", "city": "Paris"}))],
    );
    geo.reload_if_changed(seen);
    assert_eq!(country(&geo), "FR");
}

#[test]
fn a_missing_or_bad_file_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.csv");
    std::fs::write(&bad, "1.2.3.4\n").unwrap();
    for config in [
        Config {
            databases: vec![dir.path().join("none")],
            ..Config::default()
        },
        Config {
            databases: vec![bad.clone()],
            ..Config::default()
        },
        Config {
            zones: Some(bad),
            ..Config::default()
        },
        Config {
            default: Some(Point {
                lat: 99.0,
                lon: 0.0,
            }),
            ..Config::default()
        },
    ] {
        assert!(Geo::load(config, &own()).is_err());
    }
}
