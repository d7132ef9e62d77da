//! Series and events from CSV files, plain or gzip: which columns count, what a bad row is, what to do about a bad file.
//!
//! A bad row is counted and left out; a file in which nothing can be read is an error that says what was expected.

use anyhow::{Context, Result, bail, ensure};
use csv::StringRecord;
use flate2::read::MultiGzDecoder;
use models::calendar::{Event, Events};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::time;

/// Samples `(Unix seconds, value)` of each series, and what was wrong.
#[derive(Debug, Default)]
pub struct Data {
    /// By the series' name.
    pub series: BTreeMap<String, Vec<(i64, f64)>>,
    /// How many rows there were, and how many were bad.
    pub counts: Counts,
}

/// How many rows a file had.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Rows read.
    pub rows: u64,
    /// Rows left out: no series, or a time or value that is none.
    pub bad: u64,
    /// Rows whose value is missing, `NaN`, infinite or negative: gaps of their series.
    pub gaps: u64,
    /// The first bad row, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<String>,
}

/// Rows of one file: more do not fit beside the models of a small machine (16 bytes each).
const MAX_ROWS: u64 = 1 << 26;
/// Series of one file: each is a line of the report.
const MAX_SERIES: usize = 10_000;

const SERIES: &[&str] = &["series", "series_id"];
const TIME: &[&str] = &["time", "ts", "ts_utc"];
const VALUE: &[&str] = &["value"];

/// Reads series from a CSV file with a header.
pub fn read(path: &Path) -> Result<Data> {
    let mut table = Table::open(path, "series,time,value")?;
    let (series, at, value) = (
        table.column(SERIES)?,
        table.column(TIME)?,
        table.column(VALUE)?,
    );
    let mut data = Data::default();
    while table.next()? {
        data.counts.rows += 1;
        ensure!(
            data.counts.rows <= MAX_ROWS,
            "{} has more than {MAX_ROWS} rows: split it by series",
            path.display()
        );
        let field = |column| table.field(column);
        match sample(field(series), field(at), field(value)) {
            Ok((name, at, value)) => {
                data.counts.gaps += u64::from(!(value.is_finite() && value >= 0.0));
                data.add(name, (at, value));
                ensure!(
                    data.series.len() <= MAX_SERIES,
                    "{} has more than {MAX_SERIES} series: split it",
                    path.display()
                );
            }
            Err(why) => data.counts.bad(table.line(), &why),
        }
    }
    ensure!(
        data.counts.rows > 0,
        "{} has a header and no rows",
        path.display()
    );
    if data.series.is_empty() {
        let why = data.counts.first_bad.unwrap_or_default();
        bail!("no row of {} can be read; {why}", path.display());
    }
    Ok(data)
}

impl Data {
    /// Puts a whole series in; one without samples is none.
    pub fn put(&mut self, name: String, samples: Vec<(i64, f64)>) {
        self.counts.rows += samples.len() as u64;
        self.counts.gaps += samples.iter().filter(|(_, value)| value.is_nan()).count() as u64;
        if !samples.is_empty() {
            self.series.insert(name, samples);
        }
    }

    fn add(&mut self, name: &str, sample: (i64, f64)) {
        match self.series.get_mut(name) {
            Some(samples) => samples.push(sample),
            None => {
                self.series.insert(name.to_owned(), vec![sample]);
            }
        }
    }
}

impl Counts {
    fn bad(&mut self, line: u64, why: &str) {
        self.bad += 1;
        self.first_bad
            .get_or_insert_with(|| format!("line {line}: {why}"));
    }
}

fn sample<'a>(series: &'a str, at: &str, value: &str) -> Result<(&'a str, i64, f64), String> {
    if series.is_empty() {
        return Err("the series has no name".into());
    }
    let at = time::parse(at).ok_or_else(|| {
        format!("{at:?} is no time: write ISO 8601 (2026-11-22T10:20:00Z) or epoch (s or ms)")
    })?;
    let value = number(value).ok_or_else(|| format!("{value:?} is no number"))?;
    Ok((series, at, value))
}

/// NaN of the usual texts for a missing value.
fn number(text: &str) -> Option<f64> {
    let missing = ["", "na", "n/a", "null", "none", "-"];
    if missing.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Some(f64::NAN);
    }
    text.parse().ok()
}

/// Announced events, by the series they belong to; those without one belong to all.
#[derive(Debug, Default)]
pub struct Announced(Vec<(Option<String>, Event)>);

const START: &[&str] = &["start", "start_s", "start_utc", "time", "ts", "ts_utc"];
const PEAK: &[&str] = &["peak", "expected_peak"];
const LENGTH: &[&str] = &["length_s", "duration_s"];
const RAMP: &[&str] = &["ramp_s"];
/// Half a football match and its break: what a show of unknown length counts for.
const USUAL_LENGTH_S: u32 = 7200;
/// How long viewers of a show of unknown ramp take to come.
const USUAL_RAMP_S: u32 = 900;

/// Reads events from a CSV file: `start`, `peak`, and if given `length_s`, `ramp_s` and `series`.
pub fn read_events(path: &Path) -> Result<Announced> {
    let mut table = Table::open(path, "start,peak,length_s,ramp_s,series")?;
    let (start, peak) = (table.column(START)?, table.column(PEAK)?);
    let optional = [SERIES, LENGTH, RAMP].map(|names| table.find(names));
    let mut events = Vec::new();
    while table.next()? {
        let field = |nth: usize| optional[nth].map_or("", |column| table.field(column));
        let seconds = |nth: usize, usual| match field(nth) {
            "" => Some(usual),
            text => text.parse().ok(),
        };
        let event = || {
            Some(Event {
                start_s: time::parse(table.field(start))?,
                peak: number(table.field(peak)).filter(|peak| peak.is_finite() && *peak >= 0.0)?,
                length_s: seconds(1, USUAL_LENGTH_S)?,
                ramp_s: seconds(2, USUAL_RAMP_S)?,
            })
        };
        // A calendar is short and written by hand: one wrong line is a mistake to mend, not noise.
        let event = event().with_context(|| {
            let line = table.line();
            format!(
                "line {line} of {} is no event: a start, a peak, seconds",
                path.display()
            )
        })?;
        let series = Some(field(0).to_owned()).filter(|name| !name.is_empty());
        events.push((series, event));
    }
    Ok(Announced(events))
}

impl Announced {
    /// Those that a series knows of.
    pub fn of(&self, series: &str) -> Events {
        let belongs = |of: &Option<String>| of.as_deref().is_none_or(|of| of == series);
        let mine = self.0.iter().filter(|(of, _)| belongs(of));
        Events::new(mine.map(|(_, event)| event.clone()).collect())
    }
}

/// A CSV file by its header.
struct Table<'a> {
    path: &'a Path,
    reader: csv::Reader<Box<dyn Read>>,
    header: Vec<String>,
    row: StringRecord,
}

impl<'a> Table<'a> {
    fn open(path: &'a Path, example: &str) -> Result<Self> {
        let open = || -> std::io::Result<Box<dyn Read>> {
            let mut file = BufReader::new(File::open(path)?);
            let zipped = file.fill_buf()?.starts_with(&GZIP_MAGIC);
            Ok(match zipped {
                true => Box::new(MultiGzDecoder::new(file)),
                false => Box::new(file),
            })
        };
        let source = open().with_context(|| format!("cannot read {}", path.display()))?;
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(source);
        let header = reader.headers().with_context(|| not_csv(path))?;
        let header: Vec<String> = header.iter().map(str::to_ascii_lowercase).collect();
        ensure!(
            header.iter().any(|name| !name.is_empty()),
            "{} is empty: it needs a header such as {example} and a row a sample",
            path.display()
        );
        Ok(Self {
            path,
            reader,
            header,
            row: StringRecord::new(),
        })
    }

    fn find(&self, names: &[&str]) -> Option<usize> {
        let found = |name: &&str| self.header.iter().position(|column| column == name);
        names.iter().find_map(found)
    }

    fn column(&self, names: &[&str]) -> Result<usize> {
        self.find(names).with_context(|| {
            format!(
                "{} has no column {}; its header is: {}",
                self.path.display(),
                names.join(" or "),
                self.header.join(",")
            )
        })
    }

    /// Goes to the next row; false behind the last. A row that is no text is an empty one.
    fn next(&mut self) -> Result<bool> {
        match self.reader.read_record(&mut self.row) {
            Ok(more) => Ok(more),
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                self.row.clear();
                Ok(true)
            }
            Err(error) => Err(error).with_context(|| not_csv(self.path)),
        }
    }

    fn field(&self, column: usize) -> &str {
        self.row.get(column).unwrap_or("")
    }

    fn line(&self) -> u64 {
        self.row.position().map_or(0, csv::Position::line)
    }
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

fn not_csv(path: &Path) -> String {
    format!("{} is no CSV, or is cut off", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write as _};

    fn read_text(text: &[u8]) -> Result<Data> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        read(file.path())
    }

    #[test]
    fn columns_are_found_by_name_in_any_order_and_case() {
        let data = read_text(
            b"\xef\xbb\xbfnote, Value ,TS,series_id\n\"a, b\",1.5,60,\"x \"\"y\"\"\"\n,NaN,120,z\n",
        );
        let data = data.unwrap();
        assert_eq!(data.series["x \"y\""], [(60, 1.5)]);
        assert!(data.series["z"][0].1.is_nan());
        assert_eq!(
            (data.counts.rows, data.counts.bad, data.counts.gaps),
            (2, 0, 1)
        );
    }

    #[test]
    fn bad_rows_are_counted_and_the_first_is_shown() {
        let data = read_text(
            b"series,time,value\na,0,1\na,noon,1\na,300,x\n,600,1\na\n\xff,1,1\na,600,null\na,900,2\n",
        );
        let data = data.unwrap();
        assert_eq!(data.series["a"].len(), 3);
        assert_eq!(
            (data.counts.rows, data.counts.bad, data.counts.gaps),
            (8, 5, 1)
        );
        assert!(
            data.counts
                .first_bad
                .unwrap()
                .starts_with("line 3: \"noon\"")
        );
    }

    #[test]
    fn a_bad_file_is_an_error_that_says_what_to_do() {
        let check = |text: &[u8], expect: &str| {
            let error = format!("{:#}", read_text(text).unwrap_err());
            assert!(error.contains(expect), "{error}");
        };
        check(b"", "is empty: it needs a header");
        check(b"series,time,value\n", "no rows");
        check(
            b"series,when,value\n",
            "no column time or ts or ts_utc; its header is: series,when",
        );
        check(b"time,value\n", "no column series or series_id");
        check(b"series,time,value\na,noon,1\n", "line 2");
        check(&[0x1f, 0x8b, 8, 0, 0], "is no CSV, or is cut off");
        let missing = read(Path::new("/nowhere.csv")).unwrap_err();
        assert!(format!("{missing:#}").contains("cannot read /nowhere.csv"));
    }

    #[test]
    fn events_belong_to_one_series_or_to_all() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "start,peak,series\n1970-01-01T00:10,500,a\n60,9,\n").unwrap();
        let events = read_events(file.path()).unwrap();
        let first = |series| events.of(series).next(0).map(|event| event.start_s);
        let last = |series| events.of(series).last(10_000).map(|event| event.start_s);
        assert_eq!((first("a"), last("a")), (Some(60), Some(600)));
        assert_eq!((first("b"), last("b")), (Some(60), Some(60)));
        for peak in ["inf", "nan", "-1", "1e999", ""] {
            fs::write(file.path(), format!("start,peak\n60,{peak}\n")).unwrap();
            let error = format!("{:#}", read_events(file.path()).unwrap_err());
            assert!(error.contains("line 2"), "{peak}: {error}");
        }
    }
}
