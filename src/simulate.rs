//! `weir simulate`: what would a policy save, and at what cost in quality?
//!
//! Reads worlds and a policy, runs the rules of `simulations/` on all cores, and writes a report. Standard output is
//! the answer, progress and remarks go to standard error. A run that is stopped goes on from the cells it has finished.

mod cluster;
mod compare;
mod forecasts;
mod inputs;
mod page;
mod report;
mod shards;
mod tune;
mod work;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use simulations::policies::Kind;
use simulations::study::Twist;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};
use tokio::signal::unix::{SignalKind, signal};

/// `weir simulate ...`.
#[derive(Subcommand)]
pub enum Command {
    /// Write a commented world to start from.
    Init(Init),
    /// Say what policies would cost and save in a world, beside simpler rules.
    Run(Box<Run>),
    /// Make one report of the shares that several machines have run.
    Merge(shards::Merge),
    /// Search policy parameters for an objective, and write the policy file.
    Tune(Box<tune::Tune>),
    /// Say what differs between two reports.
    Compare(compare::Compare),
}

/// Where to write the world.
#[derive(Args)]
pub struct Init {
    /// The file; `-` for standard output.
    #[arg(default_value = "world.toml")]
    file: PathBuf,
}

/// What to run.
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    from: From,
    /// The policy file that the planner follows; the defaults when left out.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// What is random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many worlds to make of a scenario: seeds SEED, SEED + 1 and so on.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Which rules; all when left out.
    #[arg(long, value_delimiter = ',', value_name = "B0,B1,...")]
    rules: Vec<Kind>,
    /// A week in place of a month, and only B1, B8 and the planner.
    #[arg(long)]
    quick: bool,
    /// Also: other slacks, equal prices, other contracts, no forecast, viewers that cannot be moved; on the first case.
    #[arg(long)]
    sensitivity: bool,
    /// What to simulate: what policies cost (fluid), what viewers go through, one by one (event), or both.
    #[arg(long, value_enum, default_value_t = Engine::Fluid)]
    engine: Engine,
    /// Also: what the forecast adds, on the first case: the planner told of demand all, Weir's forecast, the same with
    /// no event announced, that it stays, and nothing; with slow viewers, larger events and commits too.
    #[arg(long)]
    forecast: bool,
    /// Only a part of the work, so that several machines share it: 0/4 to 3/4 are all four parts; `merge` makes the report.
    #[arg(long, value_name = "I/N")]
    shard: Option<shards::Shard>,
    /// Also lets B1, B8 and the planner live through so many months made of each world's days; intervals are then of
    /// these. 20 take twenty times as long.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1000))]
    months: u64,
    /// A folder for report.html, report.json, timing.json and what is finished already.
    #[arg(long, value_name = "DIR", default_value = "simulation")]
    out: PathBuf,
    /// Cells run at a time; as many as there are cores when left out. The figures are the same for any number.
    #[arg(long)]
    threads: Option<usize>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// How worlds are simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    Fluid,
    Event,
    Both,
}

/// Where a world comes from.
#[derive(Args, Default)]
pub struct From {
    /// A scenario (`weir simulate init`); the one that Weir ships when nothing is named.
    #[arg(value_name = "WORLD", conflicts_with_all = ["world_dir", "edges"])]
    world: Option<PathBuf>,
    /// A world as a folder of tables, or a folder of such folders.
    #[arg(long, value_name = "DIR", conflicts_with = "edges")]
    world_dir: Option<PathBuf>,
    /// Your edges: a CSV with edge, lat, lon, capacity_mbps, and if known metro and country.
    #[arg(
        long,
        value_name = "NODES.csv",
        requires = "prices",
        requires = "demand"
    )]
    edges: Option<PathBuf>,
    /// Their prices: a CSV with edge and usd_per_mbps_month; with --world-dir the names of price files, such as P1,P2.
    #[arg(long, value_name = "PRICES.csv")]
    prices: Option<String>,
    /// What your regions ask for: a CSV with time or slot, then a column a region; or with region and mbps.
    #[arg(long, value_name = "DEMAND.csv", requires = "edges")]
    demand: Option<PathBuf>,
    /// Where your regions are, when their names do not say: a CSV with region, lat, lon.
    #[arg(long, value_name = "REGIONS.csv", requires = "edges")]
    regions: Option<PathBuf>,
    /// Round-trip times that you know, in place of those by distance: a CSV with region, edge, rtt_ms.
    #[arg(long, value_name = "RTT.csv", requires = "edges")]
    rtt: Option<PathBuf>,
    /// A running cluster, by its scheduler's admin listener: its edges, prices, ways and the demand that it remembers.
    #[arg(long = "from", value_name = "URL", conflicts_with_all = ["world", "world_dir", "edges", "prices"])]
    cluster: Option<String>,
    /// The token of its `[admin] token`, when one is set.
    #[arg(long, env = "WEIR_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
}

impl From {
    /// Whether worlds are made of a scenario, by seeds.
    fn is_scenario(&self) -> bool {
        self.world_dir.is_none() && self.edges.is_none()
    }
}

/// Does it.
pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Init(asked) => init(&asked.file),
        Command::Run(mut asked) => {
            cluster::fetch(&mut asked.from, &asked.out).await?;
            working(|stop| study(&asked, stop))
        }
        Command::Merge(asked) => working(|stop| shards::merge(&asked, stop)),
        Command::Tune(mut asked) => {
            cluster::fetch(&mut asked.from, &asked.work).await?;
            working(|stop| tune::run(&asked, stop))
        }
        Command::Compare(asked) => compare::run(&asked),
    }
}

fn init(file: &Path) -> Result<()> {
    use simulations::world::scenario::DEFAULT;
    if file == Path::new("-") {
        print!("{DEFAULT}");
        return Ok(());
    }
    ensure!(
        !file.exists(),
        "{} is there already; name another file",
        file.display()
    );
    fs::write(file, DEFAULT).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!(
        "{} written; run it with `weir simulate run {} --quick`",
        file.display(),
        file.display()
    );
    Ok(())
}

/// Works until done or told to stop.
fn working(work: impl FnOnce(&work::Stop) -> Result<()>) -> Result<()> {
    let stop = work::Stop::default();
    let heard = stop.clone();
    tokio::spawn(async move {
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        heard.stop();
    });
    tokio::task::block_in_place(|| work(&stop))
}

fn study(asked: &Run, stop: &work::Stop) -> Result<()> {
    let began = Instant::now();
    let inputs = inputs::Inputs::read(&asked.from, asked.policy.as_deref(), asked.seeds())?;
    let kept = cells(&asked.out)?;
    let threads = asked.threads.unwrap_or_else(cores).max(1);
    let plan = work::Plan {
        inputs: &inputs,
        rules: asked.rules(),
        twists: asked.twists(),
        engine: asked.engine,
        months: asked.months,
        quick: asked.quick,
        seed: asked.seed,
        cores: threads,
        scenes: work::Scenes::new(&inputs, asked.months),
    };
    let mut jobs = plan.jobs();
    if let Some(shard) = asked.shard {
        jobs = shard.of(jobs);
    }
    let bar = work::progress(jobs.iter().map(work::Job::weight).sum());
    let done = plan.run(jobs, (threads, &kept), (&bar, stop))?;
    bar.finish_and_clear();
    let Some((cells, timing)) = done else {
        bail!("stopped; the same command goes on from here");
    };
    if let Some(shard) = asked.shard {
        return shards::keep(shard, asked, &inputs);
    }
    let report = report::Report::new(asked, &inputs, &cells);
    let file = |name: &str, bytes: Vec<u8>| {
        let path = asked.out.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    file("report.json", serde_json::to_vec_pretty(&report)?)?;
    file("report.html", page::page(&report, &cells).into_bytes())?;
    let timing = report::Timing::new(began.elapsed(), threads, timing);
    file("timing.json", serde_json::to_vec_pretty(&timing)?)?;
    match asked.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{report}"),
    }
    eprintln!("{} written", asked.out.join("report.html").display());
    Ok(())
}

/// The folder of what is finished already.
fn cells(out: &Path) -> Result<PathBuf> {
    let kept = out.join("cells");
    fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
    Ok(kept)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Run {
    fn seeds(&self) -> std::ops::Range<u64> {
        self.seed..self.seed.saturating_add(self.seeds)
    }

    /// In the order of reports; B1 is what all are against, and always there.
    fn rules(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| match (self.rules.is_empty(), self.quick) {
            (false, _) => self.rules.contains(kind) || *kind == Kind::B1,
            (true, true) => matches!(kind, Kind::B1 | Kind::B8 | Kind::Weir),
            (true, false) => true,
        };
        Kind::ALL.into_iter().filter(wanted).collect()
    }

    fn twists(&self) -> Vec<Twist> {
        let rows = Twist::ROWS.into_iter().filter(|_| self.sensitivity);
        rows.chain(Twist::forecasts().filter(|_| self.forecast))
            .collect()
    }

    /// The command without what does not change its figures.
    fn normalised(&self) -> Vec<String> {
        let mut words = vec!["simulate".to_owned(), "run".to_owned()];
        let path = |path: &PathBuf| path.display().to_string();
        let from = &self.from;
        words.extend(from.world.as_ref().map(path));
        for (flag, value) in [
            ("--world-dir", from.world_dir.as_ref().map(path)),
            ("--edges", from.edges.as_ref().map(path)),
            ("--prices", from.prices.clone()),
            ("--demand", from.demand.as_ref().map(path)),
            ("--regions", from.regions.as_ref().map(path)),
            ("--rtt", from.rtt.as_ref().map(path)),
            ("--policy", self.policy.as_ref().map(path)),
            ("--seed", Some(self.seed.to_string())),
            ("--seeds", Some(self.seeds.to_string())),
            (
                "--months",
                Some(self.months.to_string()).filter(|_| self.months > 0),
            ),
        ] {
            words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        }
        let rules: Vec<&str> = self.rules().into_iter().map(Kind::as_str).collect();
        words.extend(["--rules".to_owned(), rules.join(",")]);
        words.extend(self.quick.then(|| "--quick".to_owned()));
        words.extend(self.sensitivity.then(|| "--sensitivity".to_owned()));
        let engine = match self.engine {
            Engine::Fluid => None,
            Engine::Event => Some("--engine=event"),
            Engine::Both => Some("--engine=both"),
        };
        words.extend(engine.map(str::to_owned));
        words.extend(self.forecast.then(|| "--forecast".to_owned()));
        words
    }
}
