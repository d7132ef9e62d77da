//! The store of a scheduler that stands alone: one redb file, or memory.
//!
//! Values are postcard. Writes are flushed before they are answered, on tokio's blocking threads.
//! The file is locked while open, so that two schedulers cannot share it.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use redb::backends::InMemoryBackend;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError,
    Table, TableDefinition, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Drain, Error, KEEP_EVENT_MS, MAX_DRAINS, MAX_EVENTS, MAX_KICKS, Orders, Reply, Store};
use crate::event::Event;
use crate::node::NodeId;
use crate::plan::Kick;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const DRAINS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("drains");
const KICKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("kicks");
const EVENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("events");

/// The newest epoch, in [`META`].
const EPOCH: &str = "epoch";

/// A store in one file or in memory.
#[derive(Clone)]
pub struct Embedded {
    database: Arc<Database>,
}

impl Embedded {
    /// Opens the file and makes it, and its folder, if it is not there; without a path everything
    /// is forgotten at the end. The file is checked (it is small), and repaired after a crash, so
    /// that damage is found now and not in the middle of planning.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        let mut builder = Database::builder();
        let database = match path {
            None => builder
                .create_with_backend(InMemoryBackend::new())
                .map_err(failed)?,
            Some(path) => {
                make_folder(path)?;
                builder.set_check_integrity_on_open(true);
                builder.create(path).map_err(|error| refused(path, error))?
            }
        };
        Ok(Self {
            database: Arc::new(database),
        })
    }

    /// Runs blocking work on the database away from the runtime's threads.
    fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'_, T> {
        let database = self.database.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || work(&database))
                .await
                .map_err(failed)?
        })
    }

    /// Runs a change that only the newest leader may make.
    fn fenced<T: Send + 'static>(
        &self,
        epoch: u64,
        change: impl FnOnce(&WriteTransaction) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'_, T> {
        self.on_disk(move |database| {
            let write = database.begin_write().map_err(failed)?;
            let current = epoch_of(&write.open_table(META).map_err(failed)?)?;
            if current != epoch {
                return Err(Error::Fenced {
                    held: epoch,
                    current,
                });
            }
            let answer = change(&write)?;
            write.commit().map_err(failed)?;
            Ok(answer)
        })
    }
}

impl Store for Embedded {
    fn lead(&self, now_s: u64) -> Reply<'_, u64> {
        self.on_disk(move |database| {
            let write = database.begin_write().map_err(failed)?;
            let mut meta = write.open_table(META).map_err(failed)?;
            let epoch = epoch_of(&meta)?.saturating_add(1).max(now_s);
            put(&mut meta, EPOCH, &epoch)?;
            drop(meta);
            write.commit().map_err(failed)?;
            Ok(epoch)
        })
    }

    fn orders(&self, now_ms: u64) -> Reply<'_, Orders> {
        self.on_disk(move |database| {
            let read = database.begin_read().map_err(failed)?;
            let mut orders = Orders::default();
            if let Some(drains) = present(read.open_table(DRAINS))? {
                orders.drains = values(&drains)?;
            }
            if let Some(kicks) = present(read.open_table(KICKS))? {
                orders.kicks = values(&kicks)?;
                orders.kicks.retain(|kick| now_ms < kick.until_ms);
            }
            Ok(orders)
        })
    }

    fn drain(&self, epoch: u64, node: NodeId, now_ms: u64) -> Reply<'_, ()> {
        self.fenced(epoch, move |write| {
            let mut drains = write.open_table(DRAINS).map_err(failed)?;
            if drains.get(node.as_str()).map_err(failed)?.is_some() {
                return Ok(());
            }
            if drains.len().map_err(failed)? >= MAX_DRAINS as u64 {
                return Err(Error::Full(
                    "too many nodes drain: undrain those that are gone",
                ));
            }
            let key = node.clone();
            put(
                &mut drains,
                key.as_str(),
                &Drain {
                    node,
                    since_ms: now_ms,
                },
            )
        })
    }

    fn undrain(&self, epoch: u64, node: NodeId) -> Reply<'_, ()> {
        self.fenced(epoch, move |write| {
            let mut drains = write.open_table(DRAINS).map_err(failed)?;
            drains.remove(node.as_str()).map_err(failed)?;
            Ok(())
        })
    }

    fn kick(&self, epoch: u64, kick: Kick, now_ms: u64) -> Reply<'_, ()> {
        self.fenced(epoch, move |write| {
            let mut kicks = write.open_table(KICKS).map_err(failed)?;
            for ended in values::<Kick>(&kicks)?
                .iter()
                .filter(|k| k.until_ms <= now_ms)
            {
                kicks.remove(ended.key.as_str()).map_err(failed)?;
            }
            let new = kicks.get(kick.key.as_str()).map_err(failed)?.is_none();
            if new && kicks.len().map_err(failed)? >= MAX_KICKS as u64 {
                return Err(Error::Full(
                    "too many kicks hold: give them less time, or bar the app",
                ));
            }
            put(&mut kicks, kick.key.as_str(), &kick)
        })
    }

    fn announce(&self, epoch: u64, event: Event, now_ms: u64) -> Reply<'_, u64> {
        self.fenced(epoch, move |write| {
            let mut events = write.open_table(EVENTS).map_err(failed)?;
            let mut known = values::<Event>(&events)?;
            let id = 1 + known.iter().map(|known| known.id).max().unwrap_or(0);
            known.retain(|known| known.is_over(now_ms));
            known.sort_by_key(Event::end_ms);
            let old = |known: &Event| known.end_ms().saturating_add(KEEP_EVENT_MS) <= now_ms;
            let full = events.len().map_err(failed)? >= MAX_EVENTS as u64;
            for (nth, gone) in known.iter().enumerate() {
                if old(gone) || (full && nth == 0) {
                    events.remove(number(gone.id).as_str()).map_err(failed)?;
                }
            }
            if events.len().map_err(failed)? >= MAX_EVENTS as u64 {
                return Err(Error::Full("too many events are announced: remove some"));
            }
            put(&mut events, &number(id), &Event { id, ..event })?;
            Ok(id)
        })
    }

    fn withdraw(&self, epoch: u64, id: u64) -> Reply<'_, bool> {
        self.fenced(epoch, move |write| {
            let mut events = write.open_table(EVENTS).map_err(failed)?;
            let removed = events.remove(number(id).as_str()).map_err(failed)?;
            Ok(removed.is_some())
        })
    }

    fn events(&self) -> Reply<'_, Vec<Event>> {
        self.on_disk(move |database| {
            let read = database.begin_read().map_err(failed)?;
            match present(read.open_table(EVENTS))? {
                Some(events) => values(&events),
                None => Ok(Vec::new()),
            }
        })
    }
}

/// A number as a key, so that keys are in the order of numbers.
fn number(id: u64) -> String {
    format!("{id:020}")
}

fn make_folder(file: &Path) -> Result<(), Error> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let made = std::fs::create_dir_all(folder);
    made.map_err(|source| Error::Open {
        path: file.to_owned(),
        source: source.into(),
    })
}

/// Tells a damaged file from one that cannot be opened.
fn refused(path: &Path, error: DatabaseError) -> Error {
    let damaged = match &error {
        DatabaseError::DatabaseAlreadyOpen => false,
        DatabaseError::Storage(StorageError::Io(io)) => {
            matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
        }
        _ => true,
    };
    let (path, source) = (path.to_owned(), error.into());
    if damaged {
        Error::Damaged { path, source }
    } else {
        Error::Open { path, source }
    }
}

/// The table, if anything was ever written to it.
fn found<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn present<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, Error> {
    found(opened).map_err(failed)
}

fn epoch_of(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<u64, Error> {
    match meta.get(EPOCH).map_err(failed)? {
        Some(value) => postcard::from_bytes(value.value()).map_err(failed),
        None => Ok(0),
    }
}

fn values<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Vec<T>, Error> {
    let entries = table.iter().map_err(failed)?;
    let read = |entry: Result<(_, redb::AccessGuard<'_, &[u8]>), StorageError>| {
        postcard::from_bytes(entry.map_err(failed)?.1.value()).map_err(failed)
    };
    entries.map(read).collect()
}

fn put(
    table: &mut Table<'_, &'static str, &'static [u8]>,
    key: &str,
    value: &impl Serialize,
) -> Result<(), Error> {
    let bytes = postcard::to_stdvec(value).map_err(failed)?;
    table.insert(key, bytes.as_slice()).map_err(failed)?;
    Ok(())
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Failed(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::StreamKey;

    fn id(text: &str) -> NodeId {
        NodeId::parse(text).unwrap()
    }

    fn kick(key: &str, until_ms: u64) -> Kick {
        Kick {
            key: StreamKey::parse(key).unwrap(),
            until_ms,
        }
    }

    #[tokio::test]
    async fn epochs_rise_and_follow_the_clock() {
        let store = Embedded::open(None).unwrap();
        for (now_s, epoch) in [(100, 100), (100, 101), (50, 102), (200, 200)] {
            assert_eq!(store.lead(now_s).await.unwrap(), epoch);
        }
    }

    #[tokio::test]
    async fn a_replaced_leader_changes_nothing() {
        let store = Embedded::open(None).unwrap();
        let old = store.lead(1).await.unwrap();
        let new = store.lead(1).await.unwrap();
        let fenced = |result| {
            matches!(
                result,
                Err(Error::Fenced {
                    held: 1,
                    current: 2
                })
            )
        };
        assert!(fenced(store.drain(old, id("a"), 5).await));
        assert!(fenced(store.undrain(old, id("a")).await));
        assert!(fenced(store.kick(old, kick("live/x", 9), 5).await));
        assert_eq!(store.orders(5).await.unwrap(), Orders::default());
        store.drain(new, id("a"), 5).await.unwrap();
        assert_eq!(store.orders(5).await.unwrap().drains.len(), 1);
    }

    #[tokio::test]
    async fn drains_hold_until_undone() {
        let store = Embedded::open(None).unwrap();
        let epoch = store.lead(1).await.unwrap();
        store.drain(epoch, id("b"), 5).await.unwrap();
        store.drain(epoch, id("a"), 6).await.unwrap();
        store.drain(epoch, id("b"), 7).await.unwrap();
        let drains = store.orders(8).await.unwrap().drains;
        let expect = [("a", 6), ("b", 5)].map(|(n, since_ms)| Drain {
            node: id(n),
            since_ms,
        });
        assert_eq!(drains, expect);
        store.undrain(epoch, id("a")).await.unwrap();
        store.undrain(epoch, id("never-drained")).await.unwrap();
        assert_eq!(store.orders(8).await.unwrap().drains, expect[1..]);
    }

    #[tokio::test]
    async fn kicks_end_and_are_replaced() {
        let store = Embedded::open(None).unwrap();
        let epoch = store.lead(1).await.unwrap();
        for order in [kick("live/x", 100), kick("live/y", 50), kick("live/x", 80)] {
            store.kick(epoch, order, 10).await.unwrap();
        }
        let at = async |now_ms| store.orders(now_ms).await.unwrap().kicks;
        assert_eq!(at(49).await, [kick("live/x", 80), kick("live/y", 50)]);
        assert_eq!(at(50).await, [kick("live/x", 80)]);
        assert_eq!(at(80).await, []);
    }

    #[tokio::test]
    async fn kicks_are_bounded_and_ended_ones_make_room() {
        let store = Embedded::open(None).unwrap();
        let epoch = store.lead(1).await.unwrap();
        for i in 0..MAX_KICKS {
            store
                .kick(epoch, kick(&format!("live/{i}"), 100), 10)
                .await
                .unwrap();
        }
        let one_more = kick("live/more", 200);
        assert!(matches!(
            store.kick(epoch, one_more.clone(), 10).await,
            Err(Error::Full(_))
        ));
        store.kick(epoch, kick("live/0", 150), 10).await.unwrap();
        store.kick(epoch, one_more, 100).await.unwrap();
        assert_eq!(store.orders(100).await.unwrap().kicks.len(), 2);
    }

    fn event(start_ms: u64) -> Event {
        Event {
            id: 0,
            stream: StreamKey::parse("live/final").unwrap(),
            start_ms,
            expected_peak: 1e5,
            ramp_s: 60,
            length_s: 1,
            region: Some(crate::region::Region::named("here")),
        }
    }

    #[tokio::test]
    async fn events_are_kept_by_number_and_the_past_makes_room() {
        let store = Embedded::open(None).unwrap();
        let epoch = store.lead(1).await.unwrap();
        let announce = |event, now_ms| store.announce(epoch, event, now_ms);
        assert_eq!(announce(event(1_000), 10).await.unwrap(), 1);
        assert_eq!(announce(event(9_000), 10).await.unwrap(), 2);
        let first = &store.events().await.unwrap()[0];
        assert_eq!(
            *first,
            Event {
                id: 1,
                ..event(1_000)
            }
        );
        assert!(store.withdraw(epoch, 2).await.unwrap());
        assert!(!store.withdraw(epoch, 2).await.unwrap());
        for _ in 1..MAX_EVENTS {
            announce(event(9_000), 10).await.unwrap();
        }
        assert!(matches!(
            announce(event(9_000), 10).await,
            Err(Error::Full(_))
        ));
        let id = announce(event(9_000), 2_000).await.unwrap();
        let events = store.events().await.unwrap();
        assert_eq!((events.len(), events[0].id > 1), (MAX_EVENTS, true));
        assert_eq!(events.last().map(|event| event.id), Some(id));
        announce(event(9_000), 10_000 + KEEP_EVENT_MS)
            .await
            .unwrap();
        assert_eq!(
            store.events().await.unwrap().len(),
            1,
            "what is long over goes"
        );
    }

    #[tokio::test]
    async fn everything_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/scheduler.redb");
        let store = Embedded::open(Some(&path)).unwrap();
        let epoch = store.lead(7).await.unwrap();
        store.drain(epoch, id("a"), 5).await.unwrap();
        store.kick(epoch, kick("live/x", 100), 5).await.unwrap();
        let orders = store.orders(6).await.unwrap();
        drop(store);
        let store = Embedded::open(Some(&path)).unwrap();
        assert_eq!(store.orders(6).await.unwrap(), orders);
        assert_eq!(store.lead(7).await.unwrap(), epoch + 1);
    }

    #[test]
    fn a_file_that_is_no_store_is_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let rows: [(&str, &[u8]); 3] = [
            ("text", b"not a store"),
            ("zeros", &[0; 8192]),
            ("noise", &[0xa5; 70_000]),
        ];
        for (name, bytes) in rows {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = Embedded::open(Some(&path))
                .map(drop)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(name) && error.contains("move it away"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_damaged_store_is_an_error_and_not_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scheduler.redb");
        let store = Embedded::open(Some(&path)).unwrap();
        store.lead(7).await.unwrap();
        drop(store);
        let good = std::fs::read(&path).unwrap();
        for keep in [9, 100, 4096, good.len() / 2] {
            std::fs::write(&path, &good[..keep]).unwrap();
            let error = Embedded::open(Some(&path))
                .map(drop)
                .unwrap_err()
                .to_string();
            assert!(error.contains("move it away"), "{keep}: {error}");
        }
        for at in (0..good.len()).step_by(good.len() / 16) {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            std::fs::write(&path, &bad).unwrap();
            if let Ok(store) = Embedded::open(Some(&path)) {
                assert_eq!(store.lead(7).await.unwrap(), 8, "byte {at}");
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_not_called_damaged() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        for path in [
            folder.path().to_owned(),
            folder.path().join("file/scheduler.redb"),
        ] {
            let opened = Embedded::open(Some(&path));
            assert!(matches!(opened, Err(Error::Open { .. })), "{path:?}");
        }
    }

    #[test]
    fn a_store_that_is_open_is_refused_to_a_second_scheduler() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scheduler.redb");
        let _first = Embedded::open(Some(&path)).unwrap();
        let error = Embedded::open(Some(&path))
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(error.contains("already open"), "{error}");
    }
}
