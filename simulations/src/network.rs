//! Sans-IO: round-trip times: measured between metros where a matrix has them, by distance
//! elsewhere.

use std::collections::HashMap;

use crate::table::{Column, Fault, Table};

/// The straight line by which distance becomes time. 1.55 ms per 100 km is the slope of the least
/// squares over the yearly medians between 32 cloud regions; below 1,000 km they rise by 2.2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Milliseconds for 100 km.
    pub ms_per_100km: f64,
    /// Milliseconds that every way takes.
    pub base_ms: f64,
}

impl Fit {
    /// Without a base: access networks and peering are added by who knows them.
    pub const MEASURED: Self = Self {
        ms_per_100km: 1.55,
        base_ms: 0.0,
    };

    /// The round trip over a distance.
    pub fn rtt_ms(&self, km: f64) -> f64 {
        self.base_ms + self.ms_per_100km * km / 100.0
    }
}

/// Measured times between places, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix(HashMap<(String, String), f64>);

impl Matrix {
    /// Reads a table with columns from, to, rtt_ms; of both directions the mean counts.
    pub fn read(file: &str, text: &str) -> Result<Self, Fault> {
        let columns = &[
            Column::required("from"),
            Column::required("to"),
            Column::required("rtt_ms"),
            Column::optional("distance_km"),
        ];
        let mut times = HashMap::new();
        for row in Table::read(file, text, columns)?.rows() {
            let pair = (row.name("from")?.to_owned(), row.name("to")?.to_owned());
            times.insert(pair, row.number("rtt_ms", 0.0..=1e5)?);
        }
        Ok(Self(times))
    }

    /// The time between two different places, if it was measured.
    pub fn rtt_ms(&self, from: &str, to: &str) -> Option<f64> {
        if self.0.is_empty() || from == to {
            return None;
        }
        let of = |a: &str, b: &str| self.0.get(&(a.to_owned(), b.to_owned())).copied();
        match (of(from, to), of(to, from)) {
            (Some(there), Some(back)) => Some((there + back) / 2.0),
            (there, back) => there.or(back),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_times_count_in_both_directions() {
        let matrix = Matrix::read("m.csv", "from,to,rtt_ms\na,b,10\nb,a,14\nb,c,5\n").unwrap();
        for (from, to, rtt_ms) in [
            ("a", "b", Some(12.0)),
            ("c", "b", Some(5.0)),
            ("a", "c", None),
            ("a", "a", None),
        ] {
            assert_eq!(matrix.rtt_ms(from, to), rtt_ms, "{from} {to}");
        }
        assert_eq!(Fit::MEASURED.rtt_ms(1000.0), 15.5);
    }
}
