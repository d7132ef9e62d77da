//! `weir token`: makes tokens from the configuration's keys, without asking any node.

use crate::config::Config;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use cluster::{
    config::Secret,
    token::{Action, Claims, Gate, Pattern},
};
use std::path::PathBuf;

/// `weir token ...`.
#[derive(Subcommand)]
pub enum Command {
    /// Sign a token and print it.
    Sign(Sign),
}

/// What the token shall allow.
#[derive(Args)]
pub struct Sign {
    /// The stream, `app/name`, or `app/*` for all of an application.
    #[arg(long)]
    stream: String,
    /// What it allows.
    #[arg(long, value_enum, default_value = "play")]
    action: What,
    /// How long it is valid, from now: `5m`, `12h`.
    #[arg(long, default_value = "5m")]
    expires: transport::config::Duration,
    /// Only at these edges (their ids); at any when none is given.
    #[arg(long = "edge")]
    edges: Vec<cluster::node::NodeId>,
    /// A text of yours that redirects keep and policies select by: `tier=vip`.
    #[arg(long)]
    label: Option<String>,
    /// The configuration with the keys; only `[cluster] secret` and `[tokens]` are read.
    #[arg(long, short, default_value = "weir.toml", env = "WEIR_CONFIG")]
    config: PathBuf,
    /// The cluster's secret, instead of a configuration file.
    #[arg(long, env = "WEIR_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Print JSON: the token and when it expires.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Publish,
    Play,
}

/// `weir token sign`.
pub fn run(command: Command) -> Result<()> {
    let Command::Sign(sign) = command;
    let action = match sign.action {
        What::Publish => Action::Publish,
        What::Play => Action::Play,
    };
    let now_s = transport::clock::unix_ms() / 1000;
    let exp_s = now_s + sign.expires.get().as_secs();
    ensure!(exp_s > now_s, "--expires must be a second or more");
    let mut claims = Claims::new(Pattern::parse(&sign.stream)?, action, exp_s);
    claims.edges = (!sign.edges.is_empty()).then_some(sign.edges);
    claims.label = sign.label;
    let token = gate(sign.secret, &sign.config)?.sign(&claims);
    match sign.json {
        true => println!("{}", serde_json::json!({ "token": token, "exp": exp_s })),
        false => println!("{token}"),
    }
    Ok(())
}

/// The keys of a configuration file, or those that grow from the bare secret.
fn gate(secret: Option<String>, file: &std::path::Path) -> Result<Gate> {
    if let Some(secret) = secret {
        return Ok(Gate::load(&Default::default(), &Secret::new(secret))?);
    }
    let config = Config::load(file).context("no --secret, no WEIR_SECRET, and no configuration")?;
    Ok(Gate::load(&config.tokens, &config.cluster.secret)?)
}
