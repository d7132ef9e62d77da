//! What a simulation is made from: worlds by name, policies, and what their files hashed to.

use super::From;
use anyhow::{Context, Result, anyhow, bail, ensure};
use scheduler::policy::{Policies, Policy, file, ledger::hash_of};
use simulations::forecast::{Expected, Told};
use simulations::network::Matrix;
use simulations::study::Twist;
use simulations::world::prices::Prices;
use simulations::world::scenario::{self, Players, Scenario, Streams, Window};
use simulations::world::{World, folder, generate, own};
use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// All that is read, checked.
pub struct Inputs {
    /// The worlds, in the order of reports.
    pub sources: Vec<Source>,
    /// Hashes of the files, by their names.
    pub hashes: BTreeMap<String, String>,
    policy: String,
    policies: Arc<Policies>,
}

/// A world that can be had.
pub struct Source {
    /// What it is called in reports.
    pub name: String,
    /// The names of its prices.
    pub prices: Vec<String>,
    /// Whether it is one of several worlds of a scenario.
    pub seeded: bool,
    /// How fast its viewers can be moved: HLS and FLV players, as a share; None moves all at once.
    pub steerable: Option<(f64, f64)>,
    kind: Origin,
}

enum Origin {
    Folder(PathBuf),
    Scenario(Arc<Scenario>, Arc<Matrix>, u64),
    Own(Box<(World, Prices)>),
}

/// A world with all its prices.
pub struct Scene {
    /// The world.
    pub world: World,
    /// Its prices.
    pub prices: Vec<Prices>,
    /// What is told of its demand under twists, by how the world is called under them, once somebody asked.
    pub expected: Mutex<BTreeMap<(&'static str, Told), Arc<Expected>>>,
}

impl Inputs {
    /// Reads and checks everything, so that what is wrong is told before minutes of work.
    pub fn read(from: &From, policy: Option<&Path>, seeds: Range<u64>) -> Result<Self> {
        let mut inputs = Self {
            sources: Vec::new(),
            hashes: BTreeMap::new(),
            policy: "version = 1\n".to_owned(),
            policies: Arc::default(),
        };
        if let Some(path) = policy {
            inputs.policy = inputs.text(path)?;
        }
        let shown = policy.map_or_else(|| "policy".to_owned(), |path| path.display().to_string());
        inputs.policies = Arc::new(parse(&shown, &inputs.policy)?);
        if let Some(path) = &from.world_dir {
            ensure!(
                seeds.end - seeds.start == 1,
                "--seeds is for scenarios: a folder is one world"
            );
            inputs.folders(path, from.prices.as_deref())?;
        } else if let Some(edges) = &from.edges {
            ensure!(
                seeds.end - seeds.start == 1,
                "--seeds is for scenarios: your tables are one world"
            );
            inputs.own(edges, from)?;
        } else {
            ensure!(
                from.prices.is_none(),
                "--prices goes with --edges or --world-dir"
            );
            inputs.scenario(from.world.as_deref(), seeds)?;
        }
        Ok(inputs)
    }

    fn text(&mut self, path: &Path) -> Result<String> {
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        self.hashes
            .insert(path.display().to_string(), hash_of(&text));
        Ok(text)
    }

    fn folders(&mut self, path: &Path, only: Option<&str>) -> Result<()> {
        for folder in folder::worlds_at(path)? {
            let mut prices = Vec::new();
            let mut files: Vec<PathBuf> = fs::read_dir(&folder)?
                .map(|entry| Ok(entry?.path()))
                .collect::<Result<_>>()?;
            files.sort();
            for file in files.iter().filter(|file| file.is_file()) {
                let bytes =
                    fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                let hash = hash_of(&String::from_utf8_lossy(&bytes));
                self.hashes.insert(file.display().to_string(), hash);
                let name = file
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let name = name
                    .strip_prefix("prices")
                    .and_then(|it| it.strip_suffix(".csv"));
                prices.extend(name.map(|name| name.trim_start_matches('_').to_owned()));
            }
            ensure!(
                !prices.is_empty(),
                "{} has no prices_*.csv",
                folder.display()
            );
            if let Some(only) = only {
                let wanted: Vec<&str> = only.split(',').map(str::trim).collect();
                if let Some(missing) = wanted.iter().find(|it| !prices.iter().any(|p| p == *it)) {
                    bail!(
                        "{} has no prices {missing:?}: it has {}",
                        folder.display(),
                        prices.join(", ")
                    );
                }
                prices.retain(|name| wanted.contains(&name.as_str()));
            }
            self.sources.push(Source {
                name: folder
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                prices,
                seeded: false,
                steerable: None,
                kind: Origin::Folder(folder),
            });
        }
        Ok(())
    }

    fn own(&mut self, edges: &Path, from: &From) -> Result<()> {
        let shown = |path: &Path| path.display().to_string();
        let prices = PathBuf::from(from.prices.as_deref().context("--edges needs --prices")?);
        let demand = from.demand.as_deref().context("--edges needs --demand")?;
        let texts = [self.text(edges)?, self.text(&prices)?, self.text(demand)?];
        let mut optional = |path: &Option<PathBuf>| -> Result<Option<(String, String)>> {
            let read = |path: &PathBuf| Ok((shown(path), self.text(path)?));
            path.as_ref().map(read).transpose()
        };
        let (regions, rtt) = (optional(&from.regions)?, optional(&from.rtt)?);
        let (names, [first, second, third]) =
            ([shown(edges), shown(&prices), shown(demand)], &texts);
        let made = own::read(&own::Tables {
            edges: (&names[0], first),
            prices: (&names[1], second),
            demand: (&names[2], third),
            regions: pair(regions.as_ref()),
            rtt: pair(rtt.as_ref()),
        })?;
        self.sources.push(Source {
            name: "own".to_owned(),
            prices: vec!["own".to_owned()],
            seeded: false,
            steerable: None,
            kind: Origin::Own(Box::new(made)),
        });
        Ok(())
    }

    fn scenario(&mut self, path: Option<&Path>, seeds: Range<u64>) -> Result<()> {
        let (shown, text) = match path {
            Some(path) => (path.display().to_string(), self.text(path)?),
            None => {
                let hash = hash_of(scenario::DEFAULT);
                self.hashes.insert("built-in scenario".to_owned(), hash);
                ("built-in scenario".to_owned(), scenario::DEFAULT.to_owned())
            }
        };
        let scenario = scenario::parse(&shown, &text)?;
        let matrix = match &scenario.rtt.matrix {
            Some(file) => {
                let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
                let file = folder.join(file);
                Matrix::read(&file.display().to_string(), &self.text(&file)?)?
            }
            None => Matrix::default(),
        };
        let (scenario, matrix) = (Arc::new(scenario), Arc::new(matrix));
        let players = &scenario.players;
        let steerable = (players.movable(), session_s(&scenario));
        self.sources = seeds
            .map(|seed| Source {
                name: format!("{} {seed}", scenario.name),
                prices: vec![scenario.prices.model.clone()],
                seeded: true,
                steerable: Some(steerable),
                kind: Origin::Scenario(scenario.clone(), matrix.clone(), seed),
            })
            .collect();
        Ok(())
    }

    /// The policies under a twist.
    pub fn policies(&self, twist: Twist) -> Result<Arc<Policies>> {
        let settings = twist.settings();
        if settings.is_empty() {
            return Ok(self.policies.clone());
        }
        parse("policy", &self.policy_with(&settings)?).map(Arc::new)
    }

    /// The policy file with other values in its policy `default`.
    pub fn policy_with(&self, settings: &[(&str, f64)]) -> Result<String> {
        let mut text: toml::Table = self.policy.parse().context("the policy was valid")?;
        for (key, value) in settings {
            let (table, name) = key.split_once('.').context("keys stand in tables")?;
            let mut into = ["policy", "default", table].into_iter();
            let into = into.try_fold(&mut text, |table, name| {
                let inner = table
                    .entry(name)
                    .or_insert_with(|| toml::Table::new().into());
                inner
                    .as_table_mut()
                    .with_context(|| format!("{name} is no table"))
            })?;
            into.insert(name.to_owned(), (*value).into());
        }
        Ok(text.to_string())
    }

    /// The policy that holds where no other does.
    pub fn default_policy(&self) -> &Policy {
        self.policies.default_policy()
    }

    /// What all figures hang on besides the world: the policy's text.
    pub fn policy_hash(&self) -> String {
        hash_of(&self.policy)
    }
}

/// A file's name and its text.
fn pair(of: Option<&(String, String)>) -> Option<(&str, &str)> {
    of.map(|(name, text)| (name.as_str(), text.as_str()))
}

fn session_s(scenario: &Scenario) -> f64 {
    scenario.demand.session_min * 60.0
}

fn parse(name: &str, text: &str) -> Result<Policies> {
    file::parse(text).map_err(|faults| anyhow!(file::lines(name, &faults).trim_end().to_owned()))
}

impl Source {
    /// Whether events may be announced in it: one's own tables have none.
    pub fn announces(&self) -> bool {
        !matches!(self.kind, Origin::Own(_))
    }

    /// What is played of the world viewer by viewer, with which players, and how streams are watched.
    pub fn played(&self) -> (Window, Players, Streams) {
        match &self.kind {
            Origin::Scenario(it, ..) => (it.window.clone(), it.players.clone(), it.streams.clone()),
            Origin::Folder(_) | Origin::Own(_) => Default::default(),
        }
    }

    /// Reads or makes the world.
    pub fn scene(&self) -> Result<Scene> {
        let (world, prices) = match &self.kind {
            Origin::Folder(folder) => folder::read(folder)?,
            Origin::Scenario(scenario, matrix, seed) => {
                let (world, prices) = generate::generate(scenario, matrix, *seed);
                (world, vec![prices])
            }
            Origin::Own(own) => (own.0.clone(), vec![own.1.clone()]),
        };
        Ok(Scene {
            world,
            prices,
            expected: Mutex::default(),
        })
    }
}
