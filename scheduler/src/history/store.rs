//! The history's file: one redb database of chunks, bounded by how many series it holds.
//!
//! A step of all series is one transaction. A point is replaced only by one that more was seen for,
//! so that whatever is written twice, or again after a restart, does no harm; coarse points are made
//! anew of the fine ones. When there is no room for a new series, the one that was not heard of for
//! the longest time goes; when all were heard of within the last chunk, the new one is dropped.
//! A damaged file is set aside.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use models::series::Series;
use parking_lot::Mutex;
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::ring::{CHUNK, Chunk, Layout, Point, Ring, mean, place};

type Chunks<'a> = Table<'a, (u32, u32), &'static [u8]>;
type Names<'a> = Table<'a, &'static str, &'static [u8]>;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const SERIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("series");
const FINE: TableDefinition<'_, (u32, u32), &[u8]> = TableDefinition::new("fine");
const COARSE: TableDefinition<'_, (u32, u32), &[u8]> = TableDefinition::new("coarse");

/// How the rings are cut, in [`META`].
const LAYOUT: &str = "layout";
/// The last step written, in [`META`].
const NEWEST: &str = "newest";

/// Pages kept in memory: a step of 2,000 series touches some 8 MB.
const CACHE_BYTES: usize = 16 << 20;

/// The file and what is in it.
pub(super) struct Store {
    database: Database,
    path: Option<PathBuf>,
    layout: Layout,
    /// Series that may be kept.
    room: usize,
    index: Mutex<Index>,
}

#[derive(Default)]
struct Index {
    series: BTreeMap<String, Entry>,
    newest: Option<i64>,
}

/// A series in the index.
#[derive(Clone, Copy)]
struct Entry {
    number: u32,
    /// The last step it was heard of.
    seen: i64,
    /// That as the file has it.
    stored: i64,
}

/// Why the history cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or made.
    #[error("the history {path} cannot be opened: {reason}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The database refuses.
    #[error("the history: {0}")]
    Database(#[from] redb::Error),
}

/// What became of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Points of series that there was no room for.
    pub(super) dropped: u64,
    /// Series that had to go.
    pub(super) evicted: u64,
}

impl Store {
    /// Opens the file or makes it; without a path everything is forgotten at the end.
    pub(super) fn open(path: Option<&Path>, layout: Layout, room: usize) -> Result<Self, Error> {
        let Some(path) = path else {
            let memory = builder().create_with_backend(InMemoryBackend::new());
            return Self::load(memory.map_err(redb::Error::from)?, None, layout, room)
                .map_err(Unfit::into_error);
        };
        let failed = |reason: String| Error::Open {
            path: path.to_owned(),
            reason,
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
        for _ in 0..2 {
            match Self::read(path, layout, room) {
                Ok(store) => return Ok(store),
                Err(Unfit::Busy(reason)) => return Err(failed(reason)),
                Err(unfit) => set_aside(path, &unfit).map_err(|error| failed(error.to_string()))?,
            }
        }
        Err(failed("a new file is not readable either".to_owned()))
    }

    fn read(path: &Path, layout: Layout, room: usize) -> Result<Self, Unfit> {
        // The database reads pages as it finds them; damage may also end in a panic.
        let read = || {
            let database = builder().create(path).map_err(unfit)?;
            Self::load(database, Some(path), layout, room)
        };
        let caught = std::panic::catch_unwind(read);
        caught.unwrap_or_else(|_| Err(Unfit::Damaged("its pages contradict".to_owned())))
    }

    fn load(
        database: Database,
        path: Option<&Path>,
        layout: Layout,
        room: usize,
    ) -> Result<Self, Unfit> {
        let damaged = |error: redb::Error| Unfit::Damaged(error.to_string());
        make(&database, layout).map_err(damaged)?;
        let store = Self {
            database,
            path: path.map(Path::to_owned),
            layout,
            room: room.max(1),
            index: Mutex::default(),
        };
        let (found, index) = store.index().map_err(damaged)?;
        if found != Some(layout) {
            return Err(Unfit::Other(found.map_or(0, |found| found.step_s)));
        }
        *store.index.lock() = index;
        Ok(store)
    }

    /// How the rings are cut.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Keeps a step of many series. Of what is there already the point with more behind it stays.
    pub(super) fn append(&self, step: i64, rows: &[(String, Point)]) -> Result<Written, Error> {
        self.write(|index, tables| {
            index.newest = Some(step);
            for (id, point) in rows {
                tables.keep(index, (id, step), std::slice::from_ref(point))?;
            }
            Ok(())
        })
    }

    /// Fills what is not known of a series yet, from its points at a ring's step `first` on.
    pub(super) fn fill(
        &self,
        id: &str,
        ring: Ring,
        first: i64,
        points: &[Point],
    ) -> Result<Written, Error> {
        self.write(|index, tables| match ring {
            Ring::Fine => tables.keep(index, (id, first), points),
            Ring::Coarse => tables.fill_coarse(index, (id, first), points),
        })
    }

    /// A series, without the unknown at both its ends; `range` is of the ring's steps.
    pub(super) fn series(
        &self,
        id: &str,
        ring: Ring,
        range: Range<i64>,
    ) -> Result<Option<Series>, Error> {
        let number = self.index.lock().series.get(id).map(|entry| entry.number);
        let Some(number) = number else {
            return Ok(None);
        };
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(table_of(ring)).map_err(redb::Error::from)?;
        // No ring holds more than one lap, whatever is asked for.
        let lap = i64::from(self.layout.slots(ring)) * CHUNK;
        let end = range
            .end
            .min(self.newest(ring).map_or(range.end, |newest| newest + 1));
        let start = range.start.max(end.saturating_sub(lap));
        let mut values = Vec::new();
        for chunk_number in start.div_euclid(CHUNK)..=end.saturating_sub(1).div_euclid(CHUNK) {
            let key = (number, self.layout.slot(ring, chunk_number));
            let kept = table.get(key).map_err(redb::Error::from)?;
            let chunk = kept.and_then(|kept| Chunk::read(kept.value(), chunk_number));
            for index in 0..CHUNK {
                if (start..end).contains(&(chunk_number * CHUNK + index)) {
                    let at = chunk.as_ref().map(|chunk| chunk.at(index as usize));
                    values.push(at.unwrap_or_default().value());
                }
            }
        }
        Ok(Some(trimmed(start, self.layout.step_s(ring), values)))
    }

    /// The series whose names begin so, and the last step that each was heard of.
    pub(super) fn list(&self, prefix: &str) -> Vec<(String, i64)> {
        let index = self.index.lock();
        let from = index.series.range(prefix.to_owned()..);
        let these = from.take_while(|(id, _)| id.starts_with(prefix));
        these.map(|(id, entry)| (id.clone(), entry.seen)).collect()
    }

    /// The last step written, in steps of a ring.
    pub(super) fn newest(&self, ring: Ring) -> Option<i64> {
        let newest = self.index.lock().newest?;
        Some(match ring {
            Ring::Fine => newest,
            Ring::Coarse => newest.div_euclid(self.layout.coarse.into()),
        })
    }

    /// Series kept.
    pub(super) fn len(&self) -> usize {
        self.index.lock().series.len()
    }

    /// Size of the file; 0 in memory.
    pub(super) fn bytes(&self) -> u64 {
        let meta = self
            .path
            .as_deref()
            .and_then(|path| std::fs::metadata(path).ok());
        meta.map_or(0, |meta| meta.len())
    }

    fn write(
        &self,
        change: impl FnOnce(&mut Index, &mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<Written, Error> {
        let mut index = self.index.lock();
        match self.transact(&mut index, change) {
            Ok(written) => Ok(written),
            Err(error) => {
                // What the index says of the change is not so.
                if let Ok((_, kept)) = self.index() {
                    *index = kept;
                }
                Err(error.into())
            }
        }
    }

    fn transact(
        &self,
        index: &mut Index,
        change: impl FnOnce(&mut Index, &mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<Written, redb::Error> {
        let mut write = self.database.begin_write()?;
        // After a crash the file is ready at once.
        write.set_quick_repair(true);
        let written = {
            let mut tables = Tables::open(&write, &self.layout, self.room)?;
            change(index, &mut tables)?;
            tables.written
        };
        if let Some(newest) = index.newest {
            let mut meta = write.open_table(META)?;
            meta.insert(NEWEST, newest.to_le_bytes().as_slice())?;
        }
        write.commit()?;
        Ok(written)
    }

    /// The layout and the series that the file holds.
    fn index(&self) -> Result<(Option<Layout>, Index), redb::Error> {
        let read = self.database.begin_read()?;
        let meta = read.open_table(META)?;
        let layout = meta
            .get(LAYOUT)?
            .and_then(|it| postcard::from_bytes(it.value()).ok());
        let newest = meta.get(NEWEST)?;
        let newest = newest.and_then(|it| it.value().try_into().ok().map(i64::from_le_bytes));
        let mut series = BTreeMap::new();
        for entry in read.open_table(SERIES)?.iter()? {
            let (id, value) = entry?;
            if let Ok((number, seen)) = postcard::from_bytes::<(u32, i64)>(value.value()) {
                let entry = Entry {
                    number,
                    seen,
                    stored: seen,
                };
                series.insert(id.value().to_owned(), entry);
            }
        }
        Ok((layout, Index { series, newest }))
    }
}

/// The tables of one transaction.
struct Tables<'a> {
    layout: &'a Layout,
    room: usize,
    names: Names<'a>,
    fine: Chunks<'a>,
    coarse: Chunks<'a>,
    written: Written,
}

impl<'a> Tables<'a> {
    fn open(
        write: &'a WriteTransaction,
        layout: &'a Layout,
        room: usize,
    ) -> Result<Self, redb::Error> {
        Ok(Self {
            layout,
            room,
            names: write.open_table(SERIES)?,
            fine: write.open_table(FINE)?,
            coarse: write.open_table(COARSE)?,
            written: Written::default(),
        })
    }

    /// Keeps neighbouring fine points and the coarse ones that follow from them.
    fn keep(
        &mut self,
        index: &mut Index,
        (id, first): (&str, i64),
        points: &[Point],
    ) -> Result<(), redb::Error> {
        let Some(number) = self.number(index, (id, first + points.len() as i64 - 1))? else {
            self.written.dropped += points.len() as u64;
            return Ok(());
        };
        put(
            &mut self.fine,
            (self.layout, Ring::Fine),
            (number, first),
            points,
        )?;
        let times = i64::from(self.layout.coarse);
        let coarse = first.div_euclid(times)..=(first + points.len() as i64 - 1).div_euclid(times);
        for step in coarse {
            let fine = (step * times..(step + 1) * times)
                .map(|step| get(&self.fine, (self.layout, Ring::Fine), (number, step)))
                .collect::<Result<Vec<_>, _>>()?;
            if let Some(point) = mean(fine.into_iter()) {
                put(
                    &mut self.coarse,
                    (self.layout, Ring::Coarse),
                    (number, step),
                    &[point],
                )?;
            }
        }
        Ok(())
    }

    fn fill_coarse(
        &mut self,
        index: &mut Index,
        (id, first): (&str, i64),
        points: &[Point],
    ) -> Result<(), redb::Error> {
        let last = (first + points.len() as i64).saturating_mul(self.layout.coarse.into()) - 1;
        let Some(number) = self.number(index, (id, last))? else {
            self.written.dropped += points.len() as u64;
            return Ok(());
        };
        put(
            &mut self.coarse,
            (self.layout, Ring::Coarse),
            (number, first),
            points,
        )
    }

    /// The number of a series that is heard of at a step; none when there is no room for it.
    fn number(
        &mut self,
        index: &mut Index,
        (id, step): (&str, i64),
    ) -> Result<Option<u32>, redb::Error> {
        if id.len() > MAX_ID {
            return Ok(None);
        }
        if !index.series.contains_key(id) {
            let Some(number) = self.free(index, step)? else {
                return Ok(None);
            };
            let entry = Entry {
                number,
                seen: step,
                stored: i64::MIN,
            };
            index.series.insert(id.to_owned(), entry);
        }
        let Some(entry) = index.series.get_mut(id) else {
            return Ok(None);
        };
        // A clock that was ahead for a while leaves nothing behind.
        let seen = entry.seen.min(index.newest.unwrap_or(step));
        entry.seen = step.max(seen);
        // Once a chunk is exact enough for who is to go.
        if entry.stored.saturating_add(CHUNK) <= entry.seen || entry.stored > entry.seen {
            entry.stored = entry.seen;
            let value = postcard::to_stdvec(&(entry.number, entry.seen));
            let value = value.expect("numbers can be written");
            self.names.insert(id, value.as_slice())?;
        }
        Ok(Some(entry.number))
    }

    /// A number for a new series, in the place of the one that was silent for longest if need be.
    fn free(&mut self, index: &mut Index, step: i64) -> Result<Option<u32>, redb::Error> {
        if index.series.len() < self.room {
            let taken: Vec<u32> = index.series.values().map(|entry| entry.number).collect();
            let next = taken.iter().max().map_or(0, |most| most + 1);
            return Ok(Some(next));
        }
        let oldest = index.series.iter().min_by_key(|(_, entry)| entry.seen);
        let Some((id, entry)) = oldest.map(|(id, entry)| (id.clone(), *entry)) else {
            return Ok(None);
        };
        if entry.seen.saturating_add(CHUNK) > step {
            return Ok(None);
        }
        let all = (entry.number, 0)..=(entry.number, u32::MAX);
        self.fine.retain_in(all.clone(), |_, _| false)?;
        self.coarse.retain_in(all, |_, _| false)?;
        self.names.remove(id.as_str())?;
        index.series.remove(&id);
        self.written.evicted += 1;
        Ok(Some(entry.number))
    }
}

/// Sets neighbouring points; of two the one with more behind it stays.
fn put(
    table: &mut Chunks<'_>,
    (layout, ring): (&Layout, Ring),
    (number, first): (u32, i64),
    points: &[Point],
) -> Result<(), redb::Error> {
    let mut at = 0;
    while at < points.len() {
        let (chunk_number, index) = place(first + at as i64);
        let key = (number, layout.slot(ring, chunk_number));
        let kept = table
            .get(key)?
            .and_then(|it| Chunk::read(it.value(), chunk_number));
        let mut chunk = kept.unwrap_or_else(|| Chunk::new(chunk_number));
        let count = (points.len() - at).min(CHUNK as usize - index);
        for (index, point) in (index..).zip(&points[at..at + count]) {
            if point.count > 0 && point.count >= chunk.at(index).count {
                chunk.set(index, *point);
            }
        }
        table.insert(key, chunk.write().as_slice())?;
        at += count;
    }
    Ok(())
}

fn get(
    table: &Chunks<'_>,
    (layout, ring): (&Layout, Ring),
    (number, step): (u32, i64),
) -> Result<Point, redb::Error> {
    let (chunk_number, index) = place(step);
    let kept = table.get((number, layout.slot(ring, chunk_number)))?;
    let chunk = kept.and_then(|it| Chunk::read(it.value(), chunk_number));
    Ok(chunk.map_or_else(Point::default, |chunk| chunk.at(index)))
}

fn table_of(ring: Ring) -> TableDefinition<'static, (u32, u32), &'static [u8]> {
    match ring {
        Ring::Fine => FINE,
        Ring::Coarse => COARSE,
    }
}

fn trimmed(start: i64, step_s: u32, mut values: Vec<f64>) -> Series {
    let known = |value: &f64| !value.is_nan();
    let lead = values.iter().position(known).unwrap_or(values.len());
    values.drain(..lead);
    let end = values.iter().rposition(known).map_or(0, |last| last + 1);
    values.truncate(end);
    Series {
        first: start + lead as i64,
        step_s,
        values,
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

/// Makes the tables of a new file.
fn make(database: &Database, layout: Layout) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut meta = write.open_table(META)?;
        if meta.get(LAYOUT)?.is_none() {
            let bytes = postcard::to_stdvec(&layout).expect("numbers can be written");
            meta.insert(LAYOUT, bytes.as_slice())?;
        }
        write.open_table(SERIES)?;
        write.open_table(FINE)?;
        write.open_table(COARSE)?;
    }
    write.commit()?;
    Ok(())
}

/// Why a file is not to be used.
enum Unfit {
    /// Somebody else has it, or it cannot be reached.
    Busy(String),
    /// It contradicts itself.
    Damaged(String),
    /// It is of other steps, so many seconds each.
    Other(u32),
}

impl Unfit {
    fn into_error(self) -> Error {
        let reason = match self {
            Self::Busy(reason) | Self::Damaged(reason) => reason,
            Self::Other(step_s) => format!("it is of steps of {step_s} s"),
        };
        Error::Open {
            path: PathBuf::new(),
            reason,
        }
    }
}

/// Tells a damaged file from one that cannot be opened.
fn unfit(error: redb::DatabaseError) -> Unfit {
    use redb::{DatabaseError, StorageError};
    use std::io::ErrorKind;
    let busy = match &error {
        DatabaseError::DatabaseAlreadyOpen => true,
        DatabaseError::Storage(StorageError::Io(io)) => {
            !matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
        }
        _ => false,
    };
    match busy {
        true => Unfit::Busy(error.to_string()),
        false => Unfit::Damaged(error.to_string()),
    }
}

/// Renames a file that is not to be used, over an older one of the same kind.
fn set_aside(path: &Path, unfit: &Unfit) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    match unfit {
        Unfit::Other(step_s) => {
            name.push(format!(".{step_s}s"));
            tracing::warn!(
                file = %path.display(), step_s, kept = %Path::new(&name).display(),
                "the history is of other steps: it is set aside and begins anew"
            );
        }
        Unfit::Damaged(reason) | Unfit::Busy(reason) => {
            name.push(".damaged");
            tracing::error!(
                file = %path.display(), reason, kept = %Path::new(&name).display(),
                "the history is damaged: it is set aside and begins anew"
            );
        }
    }
    std::fs::rename(path, name)
}

/// Longest name: a stream's key with its kind.
const MAX_ID: usize = 160;

#[cfg(test)]
mod tests;
