//! Training in the background, and the file of what was learned.
//!
//! One training at a time, in a thread of the lowest priority, so that steering never waits for it.
//! The file is replaced whole; one that is damaged, or of another calendar, is left where it is and
//! not used.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwapOption;
use models::artifact::Model;
use models::calendar::{Calendar, Events};
use models::pool::{self, Recipe, Sample};
use models::series::Series;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The model with its card.
    pub model: Model,
    /// Tells it from others: when it was trained, and its checksum.
    pub version: String,
}

/// What a training reads.
pub(super) struct Lesson {
    pub series: Vec<(Series, Events)>,
    pub recipe: Recipe,
}

/// Learns, and keeps what was learned.
#[derive(Debug)]
pub(super) struct Trainer {
    folder: Option<PathBuf>,
    model: ArcSwapOption<Trained>,
    busy: AtomicBool,
    /// Why the last training failed.
    failed: Mutex<Option<String>>,
}

/// Says that a training goes on, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Trainer>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

const MODEL: &str = "forecast.model";
const SHOWS: &str = "forecast.shows";

impl Trainer {
    /// With what was learned before, if it is of this calendar.
    pub(super) fn load(folder: Option<PathBuf>, expect: (Calendar, u32)) -> Self {
        let file = folder.as_ref().map(|folder| folder.join(MODEL));
        let model = file.and_then(|file| match read(&file, expect) {
            Ok(found) => found,
            Err(error) => {
                let (error, file) = (format!("{error:#}"), file.display());
                tracing::error!(error, %file, "the forecast model is not used: train it again");
                None
            }
        });
        Self {
            folder,
            model: ArcSwapOption::new(model.map(Arc::new)),
            busy: AtomicBool::new(false),
            failed: Mutex::default(),
        }
    }

    /// What was learned last.
    pub(super) fn model(&self) -> Option<Arc<Trained>> {
        self.model.load_full()
    }

    /// Whether a training goes on.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Why the last training failed, if it did.
    pub(super) fn failed(&self) -> Option<String> {
        self.failed.lock().clone()
    }

    /// The turn to train, unless another has it.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Turn> {
        let was = self.busy.swap(true, Ordering::AcqRel);
        (!was).then(|| Turn(self.clone()))
    }

    /// Trains in a thread of its own; how long that took.
    pub(super) async fn train(
        self: &Arc<Self>,
        turn: Turn,
        lesson: impl FnOnce() -> anyhow::Result<Lesson> + Send + 'static,
    ) -> anyhow::Result<Duration> {
        let (tell, told) = oneshot::channel();
        let trainer = self.clone();
        let work = move || {
            let began = Instant::now();
            // Without the right to it, it trains at the usual priority.
            let _ = rustix::process::nice(LOWEST);
            let done = lesson().and_then(|lesson| trainer.learn(&lesson));
            *trainer.failed.lock() = done.as_ref().err().map(|error| format!("{error:#}"));
            drop(turn);
            let _ = tell.send(done.map(|()| began.elapsed()));
        };
        std::thread::Builder::new()
            .name("training".into())
            .spawn(work)?;
        told.await.context("the training broke off")?
    }

    fn learn(&self, lesson: &Lesson) -> anyhow::Result<()> {
        let sample = |(series, events)| Sample { series, events };
        let samples: Vec<Sample<'_>> = lesson.series.iter().map(|(s, e)| sample((s, e))).collect();
        let model = pool::train(&samples, &lesson.recipe, |_| {});
        let bytes = model.encode();
        let version = version(&model, &bytes);
        for quality in &model.card.horizons {
            let (horizon_s, wape, naive) = (quality.horizon_s, quality.wape, &quality.best_naive);
            let used = quality.is_used;
            tracing::info!(
                horizon_s,
                wape,
                naive,
                used,
                "a forecast model was examined"
            );
        }
        self.model.store(Some(Arc::new(Trained { model, version })));
        self.keep(MODEL, &bytes)
            .context("what was learned is lost with this process")
    }

    /// The shapes of past shows, as they were kept.
    pub(super) fn shows(&self) -> Option<Vec<u8>> {
        std::fs::read(self.folder.as_ref()?.join(SHOWS)).ok()
    }

    /// Keeps the shapes of past shows.
    pub(super) fn keep_shows(&self, bytes: &[u8]) {
        if let Err(error) = self.keep(SHOWS, bytes) {
            let error = format!("{error:#}");
            tracing::error!(error, "the shapes of past shows are not kept");
        }
    }

    /// Replaces a file by one that is whole.
    fn keep(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let (file, new) = (folder.join(name), folder.join(format!("{name}.new")));
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(folder)?;
            let mut to = std::fs::File::create(&new)?;
            to.write_all(bytes)?;
            to.sync_all()?;
            std::fs::rename(&new, &file)
        };
        write().with_context(|| format!("cannot write {}", file.display()))
    }
}

/// The model in a file, if there is one.
fn read(file: &Path, (calendar, step_s): (Calendar, u32)) -> anyhow::Result<Option<Trained>> {
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let model = Model::decode(&bytes)?;
    anyhow::ensure!(
        model.step_s == step_s && model.calendar == calendar,
        "it was learned from steps of {} s of another [time]",
        model.step_s
    );
    let version = version(&model, &bytes);
    Ok(Some(Trained { model, version }))
}

fn version(model: &Model, bytes: &[u8]) -> String {
    let sum = bytes.get(SUM).unwrap_or_default();
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{sum}", model.card.trained_at_s)
}

/// Half of the checksum in an artifact.
const SUM: std::ops::Range<usize> = 12..16;

/// The last that the system gives anything to.
const LOWEST: i32 = 19;

#[cfg(test)]
mod tests {
    use super::*;

    const CALENDAR: Calendar = Calendar {
        day_s: 2880,
        week_s: 7 * 2880,
    };

    fn lesson() -> anyhow::Result<Lesson> {
        let value = |step: i64| 100.0 * (2.0 + (step as f64 / 48.0 * std::f64::consts::TAU).sin());
        let series = Series {
            first: 0,
            step_s: 60,
            values: (0..600).map(value).collect(),
        };
        Ok(Lesson {
            series: vec![(series, Events::default())],
            recipe: Recipe::new(CALENDAR, 60, vec![1], 77),
        })
    }

    #[tokio::test]
    async fn what_was_learned_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let load = |step_s| {
            let folder = Some(dir.path().to_owned());
            Arc::new(Trainer::load(folder, (CALENDAR, step_s)))
        };
        let trainer = load(60);
        assert_eq!(trainer.model(), None);
        let turn = trainer.turn().unwrap();
        assert!(
            trainer.turn().is_none() && trainer.is_busy(),
            "never two at once"
        );
        trainer.train(turn, lesson).await.unwrap();
        assert!(!trainer.is_busy());
        let model = trainer.model().unwrap();
        assert!(model.version.starts_with("77-"));
        assert_eq!(load(60).model(), Some(model));
        assert_eq!(load(300).model(), None, "of other steps");
        let file = dir.path().join(MODEL);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(load(60).model(), None, "damaged");
        trainer.keep_shows(b"x");
        assert_eq!(trainer.shows(), Some(b"x".to_vec()));
    }

    #[tokio::test]
    async fn a_training_that_fails_gives_its_turn_back() {
        let trainer = Arc::new(Trainer::load(None, (CALENDAR, 60)));
        let turn = trainer.turn().unwrap();
        let failed = trainer.train(turn, || anyhow::bail!("no history")).await;
        assert!(failed.is_err() && !trainer.is_busy());
        let turn = trainer.turn().unwrap();
        let broke = trainer.train(turn, || panic!("a bug")).await;
        assert!(broke.is_err() && !trainer.is_busy());
    }
}
