//! Sans-IO: the centres of countries and of large countries' states, for databases that know no
//! coordinates.
//!
//! The table is `centres.csv` beside this file, built in; its head says where it comes from. States
//! are found by ISO 3166-2 code, else by the longest known name inside the given one ("Moscow
//! Oblast" is not "Moscow", "West Virginia" is not "Virginia").

use std::collections::HashMap;
use std::sync::LazyLock;

use super::sphere::Point;

/// A country's ISO 3166-1 code in capitals.
pub(super) type Country = [u8; 2];

/// The country's centre, when the table has it.
pub(super) fn of_country(country: Country) -> Option<Point> {
    TABLE.countries.get(&country).copied()
}

/// The code and the centre of a state given by its code or its name, for large countries only.
pub(super) fn of_state(country: Country, state: &str) -> Option<(&'static str, Point)> {
    let states = TABLE.states.get(&country)?;
    if let Some(found) = states.iter().find(|known| known.code == state) {
        return Some((found.code, found.centre));
    }
    let folded = fold(state);
    let names = states
        .iter()
        .flat_map(|state| state.names.iter().map(move |name| (name, state)));
    let known = names.filter(|(name, _)| folded.contains(name.as_str()));
    known
        .max_by_key(|(name, _)| name.len())
        .map(|(_, state)| (state.code, state.centre))
}

/// A two-letter code in any case, as a key of the table.
pub(super) fn country_key(code: &str) -> Option<Country> {
    let key: Country = code.as_bytes().try_into().ok()?;
    key.is_ascii()
        .then(|| key.map(|byte| byte.to_ascii_uppercase()))
}

struct Table {
    countries: HashMap<Country, Point>,
    states: HashMap<Country, Vec<State>>,
}

struct State {
    code: &'static str,
    names: Vec<String>,
    centre: Point,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table {
        countries: HashMap::new(),
        states: HashMap::new(),
    };
    for line in include_str!("centres.csv")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        table
            .insert(line)
            .expect("the built-in table is tested line by line");
    }
    table
});

impl Table {
    fn insert(&mut self, line: &'static str) -> Option<()> {
        let mut fields = line.split(',');
        let country = country_key(fields.next()?)?;
        let code = fields.next()?;
        let lat = fields.next()?.parse().ok()?;
        let centre = Point::checked(lat, fields.next()?.parse().ok()?)?;
        if code.is_empty() {
            self.countries.insert(country, centre);
        } else {
            let names = fields.next()?.split('|').map(fold).collect();
            self.states.entry(country).or_default().push(State {
                code,
                names,
                centre,
            });
        }
        Some(())
    }
}

/// Lower-case ASCII letters only, the accents of the table's countries taken off.
fn fold(name: &str) -> String {
    let plain = name
        .chars()
        .flat_map(char::to_lowercase)
        .map(|letter| match letter {
            'á' | 'à' | 'â' | 'ã' | 'ā' => 'a',
            'é' | 'ê' => 'e',
            'í' | 'ī' => 'i',
            'ó' | 'ô' | 'õ' => 'o',
            'ú' | 'ū' | 'ü' => 'u',
            'ç' => 'c',
            other => other,
        });
    plain.filter(char::is_ascii_alphabetic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        assert_eq!((TABLE.countries.len() > 230, TABLE.states.len()), (true, 7));
    }

    #[test]
    fn states_are_found_by_code_and_by_any_spelling() {
        let table = [
            ("US", "VA", Some("US,VA")),
            ("US", "West Virginia", Some("US,WV")),
            ("US", "Arkansas", Some("US,AR")),
            ("CN", "Shanghai Shi", Some("CN,SH")),
            ("BR", "São Paulo", Some("BR,SP")),
            ("BR", "Paraná", Some("BR,PR")),
            ("RU", "Moscow Oblast", Some("RU,MOS")),
            ("RU", "St.-Petersburg", Some("RU,SPE")),
            ("RU", "Republic of Tatarstan", Some("RU,TA")),
            ("CA", "Québec", Some("CA,QC")),
            ("US", "Atlantis", None),
            ("US", "", None),
            ("DE", "Hesse", None),
        ];
        for (country, state, expected) in table {
            let found = of_state(country_key(country).unwrap(), state);
            let line = |prefix: &str| {
                let all = include_str!("centres.csv").lines();
                let line = all
                    .into_iter()
                    .find(|line| line.starts_with(prefix))
                    .unwrap();
                let fields: Vec<&str> = line.split(',').collect();
                Point::checked(fields[2].parse().unwrap(), fields[3].parse().unwrap()).unwrap()
            };
            let code = expected
                .and_then(|line| line.split_once(','))
                .map(|it| it.1);
            assert_eq!(found, code.zip(expected.map(line)), "{country} {state}");
        }
    }

    #[test]
    fn a_country_code_is_two_ascii_letters_in_any_case() {
        assert_eq!(country_key("de"), Some(*b"DE"));
        for bad in ["", "D", "DEU", "é"] {
            assert_eq!(country_key(bad).and_then(of_country), None);
        }
    }
}
