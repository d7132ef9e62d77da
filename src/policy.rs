//! `weir policy`: checks, compares, tries and applies the policies of a running scheduler.
//!
//! Exit codes for scripts: 0 when done, valid or equal; 1 when a file is not valid, differs or was
//! refused; 2, of `diff` alone, when it could not be told.

use crate::admin::{self, Options};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use http::Method;
use scheduler::policy::api::{Back, Checked, Held, Sent};
use scheduler::policy::diff::{Change, diff};
use scheduler::policy::file::{EXAMPLE, lines, parse, schema};
use scheduler::policy::ledger::{Entry, hash_of};
use scheduler::policy::shelf::{Active, Canaried, Shadowed};
use scheduler::shadow::Report;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use transport::clock::unix_ms;

/// `weir policy ...`.
#[derive(Subcommand)]
pub enum Command {
    /// Read a policy file and say what is wrong with it, by line; no scheduler is asked.
    Check(Check),
    /// What would change: from the policies in force to a file, or from one file to another.
    Diff(Diff),
    /// Let a file hold, in the whole cluster and at once.
    Apply(Send),
    /// Let a file plan beside the policies in force, and say what it comes to. Without a file: how it stands.
    Shadow(Shadow),
    /// Let a file hold in a few regions; it ends by itself when their viewers fare worse. Without a file: how it stands.
    Canary(Canary),
    /// List what was done with policies, newest first.
    History(Options),
    /// Go back to the version before, or to a given one.
    Rollback(Rollback),
    /// Print the file in force.
    Show(Options),
    /// Print the JSON schema of the file.
    Schema,
    /// Print a file to start from, with every key and its default.
    Example,
}

/// What to check.
#[derive(Args)]
pub struct Check {
    /// The policy file.
    #[arg(default_value = "policy.toml")]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to compare.
#[derive(Args)]
pub struct Diff {
    /// The file to compare with what is in force; of two, the one before.
    file: PathBuf,
    /// The file after, when it is not to be compared with what is in force.
    after: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// Who sends a file, and why.
#[derive(Args)]
struct Signed {
    /// Who does it, for the history.
    #[arg(long, env = "USER", default_value = "")]
    author: String,
    /// Why, for the history.
    #[arg(long, short = 'm', default_value = "")]
    comment: String,
}

/// What to apply.
#[derive(Args)]
pub struct Send {
    /// The policy file.
    file: PathBuf,
    /// Only when this version is in force; `weir policy history` lists them.
    #[arg(long)]
    base: Option<u64>,
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    options: Options,
}

/// What to plan with beside.
#[derive(Args)]
pub struct Shadow {
    /// The policy file.
    file: Option<PathBuf>,
    /// Wait for that long, then print what it came to and end it.
    #[arg(long = "for", value_name = "TIME", requires = "file")]
    long: Option<transport::config::Duration>,
    /// End it, and print what it came to.
    #[arg(long, conflicts_with = "file")]
    stop: bool,
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    options: Options,
}

/// What to try.
#[derive(Args)]
pub struct Canary {
    /// The policy file.
    file: Option<PathBuf>,
    /// In which share of the regions, at most half: `5%` or `0.05`.
    #[arg(long, default_value = "5%", value_parser = share)]
    share: f64,
    /// End it; the policies in force hold everywhere again.
    #[arg(long, conflicts_with = "file")]
    stop: bool,
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    options: Options,
}

/// Where to go back to.
#[derive(Args)]
pub struct Rollback {
    /// The version; the one before when left out.
    #[arg(value_name = "VERSION")]
    to: Option<u64>,
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    options: Options,
}

/// Does it.
pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Check(asked) => check(&asked),
        Command::Diff(asked) => match compare(&asked).await {
            Ok(true) => Ok(()),
            Ok(false) => std::process::exit(DIFFERENT),
            Err(error) => {
                eprintln!("weir: {}", transport::causes::one_line(error.as_ref()));
                std::process::exit(TROUBLE)
            }
        },
        Command::Apply(asked) => apply(asked).await,
        Command::Shadow(asked) => shadow(asked).await,
        Command::Canary(asked) => canary(asked).await,
        Command::History(options) => history(options).await,
        Command::Rollback(asked) => roll_back(asked).await,
        Command::Show(options) => show(options).await,
        Command::Schema => {
            println!("{}", serde_json::to_string_pretty(&schema())?);
            Ok(())
        }
        Command::Example => {
            print!("{EXAMPLE}");
            Ok(())
        }
    }
}

/// As `diff` has it.
const DIFFERENT: i32 = 1;
const TROUBLE: i32 = 2;

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read {}: `weir policy example` prints a file to start from",
            file.display()
        )
    })
}

/// The text of a file that is valid; what is wrong with another is told line by line.
fn valid(file: &Path) -> Result<String> {
    let text = read(file)?;
    match parse(&text) {
        Ok(_) => Ok(text),
        Err(faults) => {
            let name = file.display().to_string();
            eprint!("{}", lines(&name, &faults));
            bail!(
                "{name} is not valid: {} found",
                count(faults.len(), "fault")
            )
        }
    }
}

fn check(asked: &Check) -> Result<()> {
    if !asked.json {
        let text = valid(&asked.file)?;
        println!("{} is valid ({})", asked.file.display(), hash_of(&text));
        return Ok(());
    }
    let text = read(&asked.file)?;
    let faults = parse(&text).err().unwrap_or_default();
    let checked = Checked {
        valid: faults.is_empty(),
        hash: hash_of(&text),
        faults,
        changes: Vec::new(),
    };
    println!("{}", serde_json::to_string_pretty(&checked)?);
    ensure!(checked.valid, "{} is not valid", asked.file.display());
    Ok(())
}

/// Whether both are equal.
async fn compare(asked: &Diff) -> Result<bool> {
    let changes = match &asked.after {
        Some(after) => {
            let read = |file: &Path| Ok::<_, anyhow::Error>(parse(&valid(file)?).ok());
            let (before, after) = (read(&asked.file)?, read(after)?);
            let both = before.zip(after).context("they were valid")?;
            diff(&both.0, &both.1)
        }
        None => {
            let text = valid(&asked.file)?;
            let sent = Sent {
                text,
                ..Sent::default()
            };
            let path = format!("{PATH}/check");
            let checked: Checked = asked.options.post(&path, &sent).await?;
            ensure!(
                checked.valid,
                "the scheduler refuses it: {:?}",
                checked.faults
            );
            checked.changes
        }
    };
    asked.options.print(&changes, || match changes.is_empty() {
        true => "no difference\n".to_owned(),
        false => {
            let head = ["POLICY", "KEY", "BEFORE", "AFTER", "MEANING"];
            admin::table(&head, changes.iter().map(row))
        }
    })?;
    Ok(changes.is_empty())
}

fn row(change: &Change) -> Vec<String> {
    let shown = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (before, after) = (shown(&change.before), shown(&change.after));
    let (policy, key) = (change.policy.clone(), change.key.clone());
    vec![policy, key, before, after, change.meaning.clone()]
}

impl Signed {
    fn send(self, text: String) -> Sent {
        Sent {
            text,
            author: self.author,
            comment: self.comment,
            ..Sent::default()
        }
    }
}

async fn apply(asked: Send) -> Result<()> {
    let sent = Sent {
        base: asked.base,
        ..asked.signed.send(valid(&asked.file)?)
    };
    let held: Held = asked.options.post(&format!("{PATH}/apply"), &sent).await?;
    asked
        .options
        .print(&held, || format!("version {} holds\n", held.version))
}

async fn shadow(asked: Shadow) -> Result<()> {
    let (options, path) = (&asked.options, format!("{PATH}/shadow"));
    if asked.stop {
        return told(options, &end_shadow(options).await?);
    }
    let Some(file) = &asked.file else {
        let shadow: Shadowed = options.get(&path).await?;
        return told(options, &shadow.report);
    };
    let sent = asked.signed.send(valid(file)?);
    let _: Value = options.put(&path, &sent).await?;
    let Some(long) = asked.long else {
        return options.print(
            &Value::Null,
            || "it plans beside the policies in force; `weir policy shadow` says how it stands\n",
        );
    };
    tokio::time::sleep(long.get()).await;
    told(options, &end_shadow(options).await?)
}

async fn end_shadow(options: &Options) -> Result<Report> {
    let ended = options
        .send(Method::DELETE, &format!("{PATH}/shadow"))
        .await?;
    serde_json::from_value(ended).context("the scheduler's answer is no report")
}

fn told(options: &Options, report: &Report) -> Result<()> {
    options.print(report, || {
        let head = [
            "FIGURE",
            "ACTIVE",
            "CANDIDATE",
            "DIFFERENCE",
            "SHARE",
            "VERDICT",
        ];
        let table = admin::table(&head, report.cells().into_iter());
        let slots = count(report.slots, "slot");
        format!("{table}{} ({slots}, intervals of 95 %)\n", report.summary)
    })
}

async fn canary(asked: Canary) -> Result<()> {
    let (options, path) = (&asked.options, format!("{PATH}/canary"));
    if asked.stop {
        let answer = options.send(Method::DELETE, &path).await?;
        return options.print(&answer, || "the canary has ended\n");
    }
    if let Some(file) = &asked.file {
        let sent = Sent {
            share: Some(asked.share),
            ..asked.signed.send(valid(file)?)
        };
        let _: Value = options.put(&path, &sent).await?;
    }
    let canary: Canaried = options.get(&path).await?;
    options.print(&canary, || {
        let regions: Vec<_> = canary.regions.iter().map(ToString::to_string).collect();
        let head = ["MEASURE", "CANARY", "EXPECTED", "EVIDENCE OF HARM"];
        let rows = canary.report.standings.iter().map(|standing| {
            vec![
                format!("{:?}", standing.measure).to_lowercase(),
                format!("{:.3}", standing.canary),
                format!("{:.3}", standing.expected),
                format!("{:.0} %", 100.0 * standing.evidence),
            ]
        });
        format!(
            "{} holds since {} in {:.3} % of the regions: {}\n{}",
            canary.hash,
            ago(canary.since_ms),
            100.0 * canary.share,
            if regions.is_empty() {
                "none has viewers".into()
            } else {
                regions.join(" ")
            },
            admin::table(&head, rows)
        )
    })
}

async fn history(options: Options) -> Result<()> {
    let entries: Vec<Entry> = options.get(&format!("{PATH}/history")).await?;
    options.print(&entries, || {
        let row = |entry: &Entry| {
            let mut words = vec![entry.comment.clone()];
            words.extend(entry.why.iter().cloned());
            words.retain(|text| !text.is_empty());
            vec![
                entry.version.to_string(),
                ago(entry.at_ms),
                entry.action.as_str().replace('_', " "),
                entry.hash.clone(),
                entry.author.clone(),
                words.join("; "),
            ]
        };
        let head = ["VERSION", "WHEN", "WHAT", "FILE", "BY", "WHY"];
        admin::table(&head, entries.iter().map(row))
    })
}

async fn roll_back(asked: Rollback) -> Result<()> {
    let back = Back {
        to: asked.to,
        author: asked.signed.author,
        comment: asked.signed.comment,
    };
    let path = format!("{PATH}/rollback");
    let held: Held = asked.options.post(&path, &back).await?;
    asked
        .options
        .print(&held, || format!("version {} holds\n", held.version))
}

async fn show(options: Options) -> Result<()> {
    let active: Active = options.get(PATH).await?;
    options.print(&active, || {
        let version = active.version.as_ref();
        let nothing = || "# version 0: the defaults hold\nversion = 1\n".to_owned();
        let text = version.map_or_else(nothing, |version| version.text.clone());
        let faults = active.file.iter().flat_map(|file| &file.faults);
        let faults: String = faults
            .map(|fault| format!("# refused: {fault}\n"))
            .collect();
        format!("{faults}{text}")
    })
}

fn count(number: usize, what: &str) -> String {
    let many = if number == 1 { "" } else { "s" };
    format!("{number} {what}{many}")
}

fn ago(at_ms: u64) -> String {
    let since = Duration::from_millis(unix_ms().saturating_sub(at_ms)).as_secs();
    match since {
        0..60 => format!("{since} s ago"),
        60..3_600 => format!("{} min ago", since / 60),
        3_600..86_400 => format!("{} h ago", since / 3_600),
        _ => format!("{} d ago", since / 86_400),
    }
}

/// `5%` or `0.05`.
fn share(text: &str) -> Result<f64> {
    let (number, unit) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent, 0.01),
        None => (text.trim(), 1.0),
    };
    let share = number
        .trim()
        .parse::<f64>()
        .ok()
        .map(|number| number * unit);
    let share = share.filter(|share| *share > 0.0 && *share <= 0.5);
    share.context("a share is above 0 and at most half: 5% or 0.05")
}

const PATH: &str = "/api/v1/policy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_or_parts() {
        for (text, expect) in [("5%", 0.05), ("0.05", 0.05), (" 50 % ", 0.5)] {
            assert!((share(text).unwrap() - expect).abs() < 1e-12, "{text}");
        }
        for bad in ["", "5", "0", "-1%", "60%", "x"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_read_well() {
        for (back_s, expect) in [(5, "5 s ago"), (125, "2 min ago"), (90_000, "1 d ago")] {
            assert_eq!(ago(unix_ms() - back_s * 1_000), expect);
        }
    }
}
