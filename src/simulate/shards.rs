//! A run in parts: `--shard I/N` runs one, `weir simulate merge` makes the report of all.
//!
//! A part leaves its cells and a note of what was asked. Merging puts the cells together and gives the same command
//! without its shard, which finds all of them finished: the report has the bytes that one machine's would have.

use super::inputs::Inputs;
use super::work::{Job, Stop};
use super::{Run, cells, study};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

/// One part of several, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    at: usize,
    count: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let parts = parts.and_then(|(at, count)| Some((at.parse().ok()?, count.parse().ok()?)));
        match parts {
            Some((at, count)) if at < count && count <= MOST => Ok(Self { at, count }),
            _ => Err(format!(
                "write 0/4 to 3/4 for all parts of four; at most {MOST}"
            )),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.at, self.count)
    }
}

impl Shard {
    /// Its share of jobs: all shares take about as long.
    pub fn of(self, jobs: Vec<Job>) -> Vec<Job> {
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(jobs[*at].weight()));
        let mut loads = vec![0; self.count];
        let mut mine = Vec::new();
        for at in order {
            let least = (0..self.count)
                .min_by_key(|shard| loads[*shard])
                .unwrap_or(0);
            loads[least] += jobs[at].weight();
            if least == self.at {
                mine.push(at);
            }
        }
        let mut nth = 0..;
        let mut jobs = jobs;
        jobs.retain(|_| nth.next().is_some_and(|nth| mine.contains(&nth)));
        jobs
    }
}

/// What a part was of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    weir: String,
    shard: String,
    command: Vec<String>,
    inputs: BTreeMap<String, String>,
}

/// Notes that a part is finished.
pub fn keep(shard: Shard, asked: &Run, inputs: &Inputs) -> Result<()> {
    let note = Note {
        weir: env!("CARGO_PKG_VERSION").to_owned(),
        shard: shard.to_string(),
        command: asked.normalised(),
        inputs: inputs.hashes.clone(),
    };
    let name = format!("shard-{}-of-{}.json", shard.at, shard.count);
    let path = asked.out.join(name);
    fs::write(&path, serde_json::to_vec_pretty(&note)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!(
        "part {shard} is finished; when all are, `weir simulate merge` makes the report of their folders"
    );
    Ok(())
}

/// Where parts lie.
#[derive(Args)]
pub struct Merge {
    /// The folders that parts were run into with --out; one when all were run into the same.
    #[arg(required = true)]
    parts: Vec<PathBuf>,
    /// A folder for the report.
    #[arg(long, value_name = "DIR", default_value = "simulation")]
    out: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// A command as it was noted.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Noted {
    #[command(flatten)]
    run: Run,
}

/// Does it.
pub fn merge(asked: &Merge, stop: &Stop) -> Result<()> {
    let mut notes = BTreeMap::new();
    for folder in &asked.parts {
        for (path, note) in notes_in(folder)? {
            let shard: Shard = note.shard.parse().map_err(|_| broken(&path))?;
            notes.insert(shard, (path, note));
        }
    }
    let Some((_, (first, note))) = notes.first_key_value() else {
        bail!(
            "no folder has a shard-*.json: run parts with `weir simulate run ... --shard 0/4 --out DIR` first"
        );
    };
    let count = note.shard.parse::<Shard>().map_or(0, |shard| shard.count);
    for (path, other) in notes.values() {
        let same = (&other.weir, &other.command, &other.inputs);
        ensure!(
            same == (&note.weir, &note.command, &note.inputs),
            "{} and {} are not parts of one run: version, command and inputs must be the same",
            first.display(),
            path.display()
        );
    }
    for at in 0..count {
        ensure!(
            notes.contains_key(&Shard { at, count }),
            "part {at}/{count} is missing: run `weir {} --shard {at}/{count} --out DIR`",
            note.command.join(" ")
        );
    }
    ensure!(
        note.weir == env!("CARGO_PKG_VERSION"),
        "the parts were run by Weir {}, and figures of versions are not mixed: merge with that",
        note.weir
    );
    let kept = cells(&asked.out)?;
    for folder in &asked.parts {
        collect(&folder.join("cells"), &kept)?;
    }
    let run = Run {
        out: asked.out.clone(),
        json: asked.json,
        ..noted(note).ok_or_else(|| broken(first))?
    };
    let inputs = Inputs::read(&run.from, run.policy.as_deref(), run.seeds())?;
    ensure!(
        inputs.hashes == note.inputs,
        "the inputs are not those of the parts; merge where the same files are"
    );
    study(&run, stop)
}

/// The command of a note, if it is one of `weir simulate run`.
fn noted(note: &Note) -> Option<Run> {
    let words = note
        .command
        .strip_prefix(&["simulate".to_owned(), "run".to_owned()])?;
    Some(Noted::try_parse_from(words).ok()?.run)
}

fn broken(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{} is no note of `weir simulate run --shard`",
        path.display()
    )
}

fn notes_in(folder: &Path) -> Result<Vec<(PathBuf, Note)>> {
    let mut notes = Vec::new();
    let entries = fs::read_dir(folder);
    for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("shard-") && name.ends_with(".json") {
            let note = serde_json::from_slice(&fs::read(&path)?);
            notes.push((path.clone(), note.map_err(|_| broken(&path))?));
        }
    }
    Ok(notes)
}

/// Copies cells that are not there yet.
fn collect(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from);
    for entry in entries.with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let copy = to.join(path.file_name().unwrap_or_default());
        if path.extension().is_some_and(|it| it == "json") && !copy.exists() {
            fs::copy(&path, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
        }
    }
    Ok(())
}

/// Parts of one run: more than cells of the largest study.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use simulations::policies::Kind;
    use simulations::study::Twist;

    fn jobs() -> Vec<Job> {
        let job = |source: usize| {
            let job = move |kind: &Kind| Job {
                source,
                world: format!("w{source}"),
                seeded: true,
                prices: "p95".to_owned(),
                twist: Twist::Plain,
                rule: Some(*kind),
                month: 0,
                played: false,
            };
            Kind::ALL.iter().map(job).collect::<Vec<_>>()
        };
        (0..5).flat_map(job).collect()
    }

    #[test]
    fn parts_are_the_whole_and_take_about_as_long() {
        for count in [1, 2, 3, 7] {
            let shares: Vec<Vec<Job>> = (0..count)
                .map(|at| Shard { at, count }.of(jobs()))
                .collect();
            assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), jobs().len());
            for job in jobs() {
                assert_eq!(shares.iter().filter(|it| it.contains(&job)).count(), 1);
            }
            let weight = |share: &Vec<Job>| share.iter().map(Job::weight).sum::<u64>();
            let most = shares.iter().map(weight).max().unwrap();
            let least = shares.iter().map(weight).min().unwrap();
            assert!(most - least <= 1000, "{count}: {least} to {most}");
        }
    }

    #[test]
    fn a_part_is_written_as_its_number_of_how_many() {
        assert_eq!("3/4".parse(), Ok(Shard { at: 3, count: 4 }));
        for wrong in ["4/4", "1", "-1/4", "a/b", "0/0", "1/20000"] {
            assert!(
                wrong.parse::<Shard>().unwrap_err().contains("0/4 to 3/4"),
                "{wrong}"
            );
        }
    }

    /// A command of `weir`, as a manifest writes it.
    #[derive(Parser)]
    struct Weir {
        #[command(subcommand)]
        command: Top,
    }

    #[derive(clap::Subcommand)]
    enum Top {
        #[command(subcommand)]
        Simulate(super::super::Command),
    }

    /// What a manifest has its container run, as the pod of index 5 sees it.
    fn commanded(manifest: &str) -> super::super::Command {
        let list = |key: &str| -> Vec<String> {
            let mut lines = manifest.lines().map(str::trim);
            let line = lines.find_map(|line| line.strip_prefix(key)).unwrap();
            serde_json::from_str(line).unwrap()
        };
        let words = [list("command:"), list("args:")].concat();
        let words = words
            .iter()
            .map(|word| word.replace("$(JOB_COMPLETION_INDEX)", "5"));
        let Top::Simulate(command) = Weir::try_parse_from(words).unwrap().command;
        command
    }

    fn value<'a>(manifest: &'a str, key: &str) -> &'a str {
        let mut lines = manifest.lines().map(str::trim);
        lines
            .find_map(|line| line.strip_prefix(key))
            .unwrap()
            .trim()
    }

    #[test]
    fn the_manifests_for_kubernetes_run_what_is_there() {
        let job = include_str!("../../deploy/kubernetes/simulate-job.yaml");
        let merge = include_str!("../../deploy/kubernetes/simulate-merge.yaml");
        let super::super::Command::Run(run) = commanded(job) else {
            panic!("the job runs shares");
        };
        let parts = run.shard.unwrap().count.to_string();
        assert_eq!(run.shard.unwrap().at, 5);
        assert_eq!(
            value(job, "completions:"),
            parts,
            "each index has its share"
        );
        assert_eq!(value(job, "completionMode:"), "Indexed");
        let super::super::Command::Merge(merged) = commanded(merge) else {
            panic!("the other merges them");
        };
        assert_eq!(merged.parts, [run.out]);
        for manifest in [job, merge] {
            assert!(!manifest.contains('\t') && manifest.contains("\n  name: weir-"));
            let odd = |line: &&str| (line.len() - line.trim_start().len()) % 2 == 1;
            assert_eq!(manifest.lines().find(odd), None);
            assert_eq!(
                value(manifest, "workingDir:"),
                value(manifest, "mountPath:")
            );
        }
    }

    #[test]
    fn a_noted_command_is_the_one_that_was_given() {
        let words = "w.toml --seed 3 --seeds 2 --rules B8,weir --quick --sensitivity --forecast --shard 1/2";
        let run = Noted::try_parse_from(words.split(' ')).unwrap().run;
        let note = Note {
            weir: String::new(),
            shard: "1/2".to_owned(),
            command: run.normalised(),
            inputs: BTreeMap::new(),
        };
        let again = noted(&note).unwrap();
        assert_eq!(again.normalised(), run.normalised());
        assert_eq!((run.shard.is_some(), again.shard), (true, None));
    }
}
