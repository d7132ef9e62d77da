//! Sans-IO: points on the globe and great-circle distances between them.
//!
//! A point is kept as a unit vector beside its degrees so that a distance costs one dot product
//! and one arc sine. The Earth is a sphere here: the 0.5 % that the ellipsoid would change is far
//! below what a network path adds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A latitude and longitude in degrees, as configuration and databases give them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Degrees north, -90 to 90.
    pub lat: f64,
    /// Degrees east, -180 to 180.
    pub lon: f64,
}

impl Point {
    /// The point, unless a coordinate is out of range or no number.
    pub fn checked(lat: f64, lon: f64) -> Option<Self> {
        let valid = (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon);
        valid.then_some(Self { lat, lon })
    }

    /// The point as a vector of length one from the Earth's centre.
    pub fn unit(self) -> Unit {
        let (lat, lon) = (self.lat.to_radians(), self.lon.to_radians());
        let xyz = [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()];
        Unit(xyz.map(|value| value as f32))
    }
}

/// A point as a unit vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit([f32; 3]);

impl Unit {
    /// Great-circle distance in kilometres, by the chord (exact for near points, unlike an arc
    /// cosine of nearly one).
    pub fn km_to(self, other: Self) -> f32 {
        let square: f32 = self
            .0
            .iter()
            .zip(other.0)
            .map(|(a, b)| (a - b) * (a - b))
            .sum();
        2.0 * EARTH_RADIUS_KM * (square.sqrt() / 2.0).min(1.0).asin()
    }
}

/// Mean radius (IUGG).
const EARTH_RADIUS_KM: f32 = 6371.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_match_known_city_pairs() {
        let km = |a: (f64, f64), b: (f64, f64)| {
            let point = |(lat, lon)| Point::checked(lat, lon).unwrap().unit();
            point(a).km_to(point(b))
        };
        for (from, to, expected) in [
            ((31.23, 121.47), (50.11, 8.68), 8850.0),
            ((50.11, 8.68), (39.04, -77.49), 6560.0),
            ((0.0, 179.9), (0.0, -179.9), 22.2),
            ((52.52, 13.40), (52.52, 13.40), 0.0),
            ((90.0, 0.0), (-90.0, 0.0), 20015.0),
        ] {
            let measured = km(from, to);
            assert!(
                (measured - expected).abs() <= expected * 0.01,
                "{from:?} {to:?} {measured}"
            );
        }
    }

    #[test]
    fn coordinates_out_of_range_are_refused() {
        for (lat, lon) in [
            (90.1, 0.0),
            (0.0, 180.1),
            (f64::NAN, 0.0),
            (0.0, f64::INFINITY),
        ] {
            assert_eq!(Point::checked(lat, lon), None);
        }
    }
}
