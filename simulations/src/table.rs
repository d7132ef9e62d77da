//! CSV tables whose faults name file, line, column and remedy.
//!
//! The first line names the columns, in any order; a column that nobody knows is a fault, since it
//! may be the slip of one that counts. Not here: what the values mean.

use std::fmt;
use std::ops::RangeInclusive;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which file.
    pub file: String,
    /// Where, from 1; 0 when it is the whole file.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, problem, .. } = self;
        match self.line {
            0 => write!(f, "{file}: {problem}; {}", self.remedy),
            line => write!(f, "{file}: line {line}: {problem}; {}", self.remedy),
        }
    }
}

impl Fault {
    /// A fault of a line, or of the whole file with line 0.
    pub fn new(
        (file, line): (&str, usize),
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            file: file.to_owned(),
            line,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// A column: its name, what else it may be called, and whether it must be there.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// What rows are asked for.
    pub name: &'static str,
    /// Other names that mean the same.
    pub also: &'static [&'static str],
    /// Whether a table without it is a fault.
    pub required: bool,
}

impl Column {
    /// One that must be there.
    pub const fn required(name: &'static str) -> Self {
        Self {
            name,
            also: &[],
            required: true,
        }
    }

    /// One that may be left out.
    pub const fn optional(name: &'static str) -> Self {
        Self {
            required: false,
            ..Self::required(name)
        }
    }

    /// The same column under these names too.
    pub const fn or(mut self, also: &'static [&'static str]) -> Self {
        self.also = also;
        self
    }

    fn is(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.name == name || self.also.contains(&name.as_str())
    }
}

/// A table that was read.
#[derive(Clone, Debug)]
pub struct Table {
    file: String,
    /// By known column, where it is.
    at: Vec<(&'static str, usize)>,
    /// Columns beyond the known ones, with where they are.
    others: Vec<(String, usize)>,
    rows: Vec<(usize, csv::StringRecord)>,
}

/// One row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    table: &'a Table,
    /// Where it is, from 1.
    pub line: usize,
    record: &'a csv::StringRecord,
}

impl Table {
    /// Reads a table all of whose columns are known.
    pub fn read(file: &str, text: &str, columns: &[Column]) -> Result<Self, Fault> {
        let table = Self::open(file, text, columns)?;
        let Some((other, _)) = table.others.first() else {
            return Ok(table);
        };
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        let close = |name: &&&str| strsim::damerau_levenshtein(name, other) <= CLOSE;
        let remedy = match names.iter().find(close) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("remove it, or name one of {}", names.join(", ")),
        };
        Err(Fault::new(
            (file, 1),
            format!("column {other:?} is not known"),
            remedy,
        ))
    }

    /// Reads a table that may have columns beyond the known ones.
    pub fn open(file: &str, text: &str, columns: &[Column]) -> Result<Self, Fault> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        let broken = |error: csv::Error| {
            let line = error.position().map_or(1, |at| at.line() as usize);
            let remedy = "give each line as many values as the first line has names";
            Fault::new((file, line), brief(&error), remedy)
        };
        let head = reader.headers().map_err(broken)?.clone();
        let mut table = Self {
            file: file.to_owned(),
            at: Vec::new(),
            others: Vec::new(),
            rows: Vec::new(),
        };
        for (at, name) in head.iter().enumerate() {
            match columns.iter().find(|column| column.is(name)) {
                Some(column) if table.place(column.name).is_some() => {
                    let problem = format!("column {name:?} is there twice");
                    return Err(Fault::new((file, 1), problem, "remove one of them"));
                }
                Some(column) => table.at.push((column.name, at)),
                None => table.others.push((name.to_owned(), at)),
            }
        }
        for column in columns.iter().filter(|column| column.required) {
            if table.place(column.name).is_none() {
                let names: Vec<&str> = columns.iter().map(|it| it.name).collect();
                return Err(Fault::new(
                    (file, 1),
                    format!("column {} is missing", column.name),
                    format!("begin the file with a line such as {}", names.join(",")),
                ));
            }
        }
        // A record's position is that of what is skipped before it.
        let skipped = |line: &str| line.trim().is_empty() || line.starts_with('#');
        let lines: Vec<bool> = text.lines().map(skipped).collect();
        for record in reader.records() {
            let record = record.map_err(broken)?;
            let from = record.position().map_or(1, |at| at.line() as usize);
            let blank = lines.iter().skip(from - 1).take_while(|skipped| **skipped);
            table.rows.push((from + blank.count(), record));
        }
        if table.rows.is_empty() {
            return Err(Fault::new((file, 0), "it has no rows", "add one a line"));
        }
        Ok(table)
    }

    fn place(&self, name: &str) -> Option<usize> {
        let found = self.at.iter().find(|(known, _)| *known == name);
        found.map(|(_, at)| *at)
    }

    /// Whether an optional column is there.
    pub fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// The columns beyond the known ones, in their order.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(|(name, _)| name.as_str())
    }

    /// Its rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, record)| Row {
            table: self,
            line: *line,
            record,
        })
    }
}

impl<'a> Row<'a> {
    /// A text; of a column that is not there, nothing.
    pub fn text(&self, name: &str) -> &'a str {
        let at = self.table.place(name);
        at.and_then(|at| self.record.get(at)).unwrap_or("")
    }

    /// A name: a text that is not empty.
    pub fn name(&self, name: &str) -> Result<&'a str, Fault> {
        match self.text(name) {
            "" => Err(self.fault(format!("{name} is empty"), "name it")),
            text => Ok(text),
        }
    }

    /// A number within bounds.
    pub fn number(&self, name: &str, bounds: RangeInclusive<f64>) -> Result<f64, Fault> {
        self.parse(name, self.text(name), bounds)
    }

    /// A number within bounds, or nothing where the value is empty or the column is not there.
    pub fn optional(&self, name: &str, bounds: RangeInclusive<f64>) -> Result<Option<f64>, Fault> {
        match self.text(name) {
            "" => Ok(None),
            text => self.parse(name, text, bounds).map(Some),
        }
    }

    /// The numbers of the columns beyond the known ones, in their order.
    pub fn others(&self, bounds: &RangeInclusive<f64>) -> Result<Vec<f64>, Fault> {
        let others = self.table.others.iter();
        let number = |(name, at): &(String, usize)| {
            let text = self.record.get(*at).unwrap_or("");
            self.parse(name, text, bounds.clone())
        };
        others.map(number).collect()
    }

    fn parse(&self, name: &str, text: &str, bounds: RangeInclusive<f64>) -> Result<f64, Fault> {
        let (least, most) = (bounds.start(), bounds.end());
        match text.parse::<f64>() {
            Ok(value) if bounds.contains(&value) => Ok(value),
            Ok(_) => Err(self.fault(
                format!("{name} = {text} is out of range"),
                format!("give a number from {least} to {most}"),
            )),
            Err(_) => Err(self.fault(
                format!("{name} = {text:?} is no number"),
                format!("give a number from {least} to {most}, without a unit"),
            )),
        }
    }

    /// A fault of this row.
    pub fn fault(&self, problem: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault::new((&self.table.file, self.line), problem, remedy)
    }
}

fn brief(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("{len} values where the first line names {expected_len} columns"),
        csv::ErrorKind::Utf8 { .. } => "the text is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// Slips of the finger between a column's name and one that is known.
const CLOSE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column::required("edge").or(&["node"]),
        Column::required("capacity_mbps"),
        Column::optional("metro"),
    ];

    #[test]
    fn rows_are_read_by_their_columns_in_any_order_and_by_other_names() {
        let text = "\u{feff}capacity_mbps, Node\n 100 ,a\n# remark\n\"2e3\",\"b, c\"\n";
        let table = Table::read("n.csv", text, COLUMNS).unwrap();
        let row = |row: Row<'_>| {
            let mbps = row.number("capacity_mbps", 0.0..=1e9).unwrap();
            (row.line, row.name("edge").unwrap().to_owned(), mbps)
        };
        let rows: Vec<_> = table.rows().map(row).collect();
        assert_eq!(
            rows,
            [(2, "a".to_owned(), 100.0), (4, "b, c".to_owned(), 2000.0)]
        );
        assert!(!table.has("metro"));
    }

    #[test]
    fn faults_name_the_line_and_what_to_do() {
        for (text, said) in [
            (
                "",
                "line 1: column edge is missing; begin the file with a line such as edge,",
            ),
            ("edge,capacity_mbps\n", "n.csv: it has no rows"),
            (
                "edge,capacity_mbs\na,1\n",
                "line 1: column capacity_mbps is missing",
            ),
            (
                "edge,capacity_mbps,metr\na,1,x\n",
                "line 1: column \"metr\" is not known; did you mean metro?",
            ),
            (
                "edge,capacity_mbps,colour\na,1,x\n",
                "column \"colour\" is not known; remove it, or name one of edge, capacity_mbps",
            ),
            (
                "edge,node,capacity_mbps\na,a,1\n",
                "column \"node\" is there twice",
            ),
            (
                "edge,capacity_mbps\na,1\nb\n",
                "line 3: 1 values where the first line names 2 columns",
            ),
            (
                "edge,capacity_mbps\na,10G\n",
                "line 2: capacity_mbps = \"10G\" is no number; give a number from 1 to 100",
            ),
            (
                "edge,capacity_mbps\na,nan\n",
                "capacity_mbps = nan is out of range",
            ),
            ("edge,capacity_mbps\n,1\n", "line 2: edge is empty; name it"),
        ] {
            let read = Table::read("n.csv", text, COLUMNS).and_then(|table| {
                for row in table.rows() {
                    row.name("edge")?;
                    row.number("capacity_mbps", 1.0..=100.0)?;
                }
                Ok(())
            });
            let error = read.unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}\n{error}\nnot {said}");
        }
    }
}
