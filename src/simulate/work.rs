//! Runs cells on all cores, and keeps those that are finished, so that a run that was stopped goes on.
//!
//! A cell's file is named by a hash of all that its figures follow from: the inputs, the policy, the rule and this
//! version of Weir.

use super::Engine;
use super::inputs::{Inputs, Scene, Source};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use scheduler::policy::ledger::hash_of;
use serde::{Deserialize, Serialize};
use simulations::event::{self, Quality, Setup};
use simulations::forecast::{Expected, Told, of_region};
use simulations::policies::weir::{Foresight, Nothing};
use simulations::policies::{Kind, Setting};
use simulations::report::{Cell, draws::Draws};
use simulations::run::Motion;
use simulations::study::{Case, Ground, Twist};
use simulations::warm::{self, Warmth};
use simulations::world::World;
use simulations::world::prices::Prices;
use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What is asked of a study.
pub struct Plan<'a> {
    pub inputs: &'a Inputs,
    pub rules: Vec<Kind>,
    /// Beside the plain ones, for the first case.
    pub twists: Vec<Twist>,
    pub engine: Engine,
    /// Months to make of each plain case's days, in which B1, B8 and the planner live again.
    pub months: u64,
    pub quick: bool,
    pub seed: u64,
    /// To forecast a world's regions on.
    pub cores: usize,
    /// Worlds that somebody works on.
    pub scenes: Scenes,
}

/// The worlds of all sources, each as long as a job needs it.
#[derive(Default)]
pub struct Scenes(Vec<Mutex<Weak<Scene>>>);

impl Scenes {
    /// Room for the worlds of these inputs, and so many months made of each.
    pub fn new(inputs: &Inputs, months: u64) -> Self {
        let count = inputs.sources.len() * (months as usize + 1);
        Self((0..count).map(|_| Mutex::default()).collect())
    }
}

/// Set when the user wants to stop.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stops at the next slot.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A rule in a case, or the bound of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub source: usize,
    pub world: String,
    pub seeded: bool,
    pub prices: String,
    pub twist: Twist,
    /// A month made of the world's days by that number; 0 is the world's own.
    pub month: u64,
    /// None: the bound, or how edges are started.
    pub rule: Option<Kind>,
    /// Whether viewers are played one by one.
    pub played: bool,
}

/// What came of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Of a rule.
    Cell(Box<Cell>),
    /// Of the bound, USD; None where there is none.
    Bound(Option<f64>),
    /// Of a rule that was played.
    Played(Box<Quality>),
    /// Of edges that are started and stopped.
    Warmth(Warmth),
}

/// A job with what came of it.
pub type Done = (Job, Found);

/// Where a thread leaves what came of a job, with the seconds it took.
type Slot = Mutex<Option<Result<(Found, f64)>>>;

/// A job and the seconds it took; 0 of one that was finished before.
pub type Took = (String, f64);

impl Plan<'_> {
    /// What is to be run, in the order of reports.
    pub fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (at, source) in self.inputs.sources.iter().enumerate() {
            for (nth, prices) in source.prices.iter().enumerate() {
                let first = at == 0 && nth == 0;
                let told = |twist: &&Twist| source.announces() || !twist.hangs_on_events();
                let twisted = self.twists.iter().filter(|_| first).filter(told);
                for twist in [Twist::Plain].iter().chain(twisted) {
                    let job = |rule| Job {
                        source: at,
                        world: source.name.clone(),
                        seeded: source.seeded,
                        prices: prices.clone(),
                        twist: *twist,
                        month: 0,
                        rule,
                        played: false,
                    };
                    let plain = *twist == Twist::Plain;
                    if plain && self.engine != Engine::Fluid {
                        let played = self.rules.iter().filter(|kind| event::plays(**kind));
                        jobs.extend(played.map(|kind| Job {
                            played: true,
                            ..job(Some(*kind))
                        }));
                    }
                    if self.engine == Engine::Event {
                        continue;
                    }
                    let some = |kind: &&Kind| match twist {
                        Twist::Plain => true,
                        Twist::Forecast(_, Ground::Starting) => false,
                        // What the planner is told is nothing to the others.
                        Twist::Forecast(told, _) => {
                            **kind == Kind::Weir || (**kind == Kind::B1 && *told == Told::Nothing)
                        }
                        _ => matches!(kind, Kind::B0 | Kind::B1 | Kind::B8 | Kind::Weir),
                    };
                    jobs.extend(self.rules.iter().filter(some).map(|kind| job(Some(*kind))));
                    let starting = matches!(twist, Twist::Forecast(_, Ground::Starting));
                    jobs.extend((plain && !self.quick || starting).then(|| job(None)));
                }
            }
        }
        jobs.extend(self.again());
        jobs
    }

    /// Those of months that are lived through again.
    fn again(&self) -> Vec<Job> {
        let months = match self.engine {
            Engine::Event => 0,
            _ => self.months,
        };
        let again = [Kind::B1, Kind::B8, Kind::Weir];
        let mut jobs = Vec::new();
        for (at, source) in self.inputs.sources.iter().enumerate() {
            for month in 1..=months {
                for prices in &source.prices {
                    let job = |kind: &Kind| Job {
                        source: at,
                        world: source.name.clone(),
                        seeded: source.seeded,
                        prices: prices.clone(),
                        twist: Twist::Plain,
                        month,
                        played: false,
                        rule: Some(*kind),
                    };
                    let again = again.iter().filter(|kind| self.rules.contains(kind));
                    jobs.extend(again.map(job));
                }
            }
        }
        jobs
    }

    /// Runs what is not kept already; None when stopped before the end.
    pub fn run(
        &self,
        jobs: Vec<Job>,
        (threads, kept): (usize, &Path),
        (bar, stop): (&ProgressBar, &Stop),
    ) -> Result<Option<(Vec<Done>, Vec<Took>)>> {
        let count = jobs.len();
        let found: Vec<Slot> = jobs.iter().map(|_| Mutex::default()).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads.min(jobs.len()) {
                scope.spawn(|| {
                    let mut last = None;
                    while !stop.is_set() {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(job) = jobs.get(at) else { break };
                        let done = self.job(job, kept, &mut last, (bar, stop));
                        let failed = done.is_err();
                        if let Some(done) = done.transpose() {
                            *found[at].lock().expect("no thread panics with it") = Some(done);
                        }
                        if failed {
                            stop.stop();
                        }
                    }
                });
            }
        });
        let (mut all, mut timing) = (Vec::new(), Vec::new());
        for (job, found) in jobs.into_iter().zip(found) {
            let Some(found) = found.into_inner().expect("no thread panics with it") else {
                continue;
            };
            let (found, seconds) = found?;
            timing.push((job.name(), seconds));
            all.push((job, found));
        }
        let whole = all.len() == count;
        Ok(whole.then_some((all, timing)))
    }

    /// One job; None when stopped.
    fn job(
        &self,
        job: &Job,
        kept: &Path,
        last: &mut Option<Arc<Scene>>,
        (bar, stop): (&ProgressBar, &Stop),
    ) -> Result<Option<(Found, f64)>> {
        let path = kept.join(format!("{}.json", self.key(job)));
        if let Some(found) = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        {
            bar.inc(job.weight());
            return Ok(Some((found, 0.0)));
        }
        let scene = self.scene(job.source, job.month)?;
        *last = Some(scene.clone());
        let began = Instant::now();
        let Some(found) = self.found(job, &scene, (bar, stop))? else {
            return Ok(None);
        };
        let part = path.with_extension("part");
        fs::write(&part, serde_json::to_vec(&found)?)
            .and_then(|()| fs::rename(&part, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Some((found, began.elapsed().as_secs_f64())))
    }

    /// A world that another thread has, or a new one.
    pub fn scene(&self, source: usize, month: u64) -> Result<Arc<Scene>> {
        let at = source * (self.months as usize + 1) + month as usize;
        let mut shared = self.scenes.0[at].lock().expect("no thread panics with it");
        if let Some(scene) = shared.upgrade() {
            return Ok(scene);
        }
        let mut scene = self.inputs.sources[source].scene()?;
        if self.quick {
            let time = &mut scene.world.time;
            time.slots = time.slots.min(time.billed_from + QUICK_DAYS * time.day());
        }
        if month > 0 {
            scene.world = scene.world.redrawn(self.seed ^ month << 32);
        }
        let scene = Arc::new(scene);
        *shared = Arc::downgrade(&scene);
        Ok(scene)
    }

    fn found(
        &self,
        job: &Job,
        scene: &Scene,
        (bar, stop): (&ProgressBar, &Stop),
    ) -> Result<Option<Found>> {
        let world = job.twist.world(&scene.world);
        let world = &world;
        let prices = scene.prices.iter().find(|prices| prices.name == job.prices);
        let prices =
            prices.with_context(|| format!("{} has no prices {}", job.world, job.prices))?;
        if let Twist::Forecast(told, Ground::Starting) = job.twist {
            let policies = self.inputs.policies(job.twist)?;
            let warmth = warm::warmth(world, policies.default_policy(), told);
            bar.inc(job.weight());
            return Ok(Some(Found::Warmth(warmth)));
        }
        let prices = &twisted(job.twist, world, prices);
        let draws = Draws::new(world.time.days(), self.draws(), self.seed);
        let case = Case {
            world,
            prices,
            policies: self.inputs.policies(job.twist)?,
            foresight: match job.rule {
                Some(Kind::Weir) => scene.expected(world, job.twist, self.cores),
                _ => Arc::new(Nothing),
            },
            motion: motion(&self.inputs.sources[job.source], job.twist),
            draws: &draws,
        };
        let Some(kind) = job.rule else {
            let bound = case.bound();
            bar.inc(job.weight());
            return Ok(Some(Found::Bound(bound)));
        };
        let source = &self.inputs.sources[job.source];
        let (window, players, streams) = source.played();
        let steps = match job.played {
            false => world.time.billed().len().max(1) as u64,
            true => ((window.minutes + window.warm_up_min) * 60.0).max(1.0) as u64,
        };
        let (mut over, mut told) = (0, 0);
        let mut step = || {
            over += 1;
            let due = (job.weight() * over / steps).min(job.weight());
            bar.inc(due - told);
            told = due;
            !stop.is_set()
        };
        if !job.played {
            let cell = case.cell(kind, &mut |_| step());
            return Ok(cell.map(|cell| Found::Cell(Box::new(cell))));
        }
        let setup = Setup {
            setting: Setting {
                world,
                tariffs: &prices.tariffs,
                policies: case.policies,
                foresight: case.foresight,
            },
            window: &window,
            players: &players,
            streams: &streams,
            motion: case.motion,
            seed: self.seed + job.source as u64,
            trace: None,
        };
        let played = event::play(&setup, kind, &mut |_, _| step());
        Ok(played.map(|(quality, _)| Found::Played(Box::new(quality))))
    }

    fn draws(&self) -> usize {
        if self.quick { 200 } else { 1000 }
    }

    fn key(&self, job: &Job) -> String {
        let hashes = &self.inputs.hashes;
        let about = (
            &job.world,
            &job.prices,
            job.twist.name(),
            job.rule.map(Kind::as_str),
            job.played,
            job.month,
        );
        let how = (self.quick, self.seed, self.inputs.policy_hash());
        let name = job.name().replace([' ', '/'], "-");
        let name: String = name.chars().take(LONGEST_NAME).collect();
        format!(
            "{name}-{}",
            hash_of(&format!("{hashes:?} {about:?} {how:?} {VERSION}"))
        )
    }
}

impl Scene {
    /// What is told of the world's demand under a twist, made when it is first asked for.
    fn expected(&self, world: &World, twist: Twist, cores: usize) -> Arc<dyn Foresight> {
        let told = twist.told();
        let make = || {
            let regions = world.regions.len();
            let of = |core: usize| -> Vec<_> {
                let mine = (core..regions).step_by(cores);
                mine.map(|region| (region, of_region(world, region, told)))
                    .collect()
            };
            let mut all: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..cores)
                    .map(|core| scope.spawn(move || of(core)))
                    .collect();
                let parts = threads
                    .into_iter()
                    .map(|it| it.join().expect("forecasts do not panic"));
                parts.flatten().collect()
            });
            all.sort_by_key(|(region, _)| *region);
            let regions = all.into_iter().map(|(_, outlooks)| outlooks).collect();
            Arc::new(Expected::new(world, regions))
        };
        let mut expected = self.expected.lock().expect("forecasts do not panic");
        let name = (twist.world_name(), told);
        expected.entry(name).or_insert_with(make).clone()
    }
}

/// The prices of a world under a twist.
fn twisted(twist: Twist, world: &World, prices: &Prices) -> Prices {
    Prices {
        tariffs: twist.tariffs(world, &prices.tariffs),
        ..prices.clone()
    }
}

fn motion(source: &Source, twist: Twist) -> Motion {
    let usual = Motion::AT_ONCE;
    let (share, session_s) = source.steerable.unwrap_or((usual.movable, usual.session_s));
    Motion::of_players(session_s, twist.movable().unwrap_or(share))
}

impl Job {
    /// What it is called.
    pub fn name(&self) -> String {
        let rule = match (self.rule, self.twist) {
            (Some(kind), _) => kind.as_str(),
            (None, Twist::Forecast(..)) => "edges",
            (None, _) => "O2",
        };
        let played = if self.played { " played" } else { "" };
        let month = match self.month {
            0 => String::new(),
            month => format!(" month-{month}"),
        };
        format!(
            "{} {} {} {rule}{played}{month}",
            self.world,
            self.prices,
            self.twist.name()
        )
    }

    /// About how long it takes, beside others.
    pub fn weight(&self) -> u64 {
        match self.rule {
            Some(_) if self.played => 300,
            Some(kind) if kind.plans() => 1000,
            Some(Kind::B4) => 300,
            Some(_) => 10,
            None => 60,
        }
    }
}

/// Shows how much of so much is done, and how long the rest takes.
pub fn progress(weight: u64) -> ProgressBar {
    let bar = ProgressBar::new(weight);
    let style = "{bar:32} {percent}%, {elapsed}, about {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is sound"));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const QUICK_DAYS: usize = 7;
/// Of a job, in the name of its file; the hash that follows tells jobs apart.
const LONGEST_NAME: usize = 80;
