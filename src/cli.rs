//! The command line: what can be said to Weir, and where each command leads.

use crate::{admin, config, demo, events, forecast, load, policy, roles, simulate, token};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A self-hosted live-streaming CDN: origins take streams in, edges serve viewers, a scheduler steers them.
///
/// Try it: `weir demo`. Run it: one `weir scheduler`, one `weir origin` and edges near the viewers, each with its own file.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Weir {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole cluster in this process: an origin, a scheduler and three edges, with a test picture on air.
    Demo(demo::Options),
    /// Run an origin: takes streams in (RTMP) and relays them to edges.
    Origin(Role),
    /// Run an edge: serves viewers (HTTP-FLV, WebSocket-FLV) from one upstream per stream.
    Edge(Role),
    /// Run a scheduler: collects samples, plans, redirects viewers to their best edge.
    Scheduler(Role),
    /// Check a configuration file, or print one to start from.
    #[command(subcommand)]
    Config(Config),
    /// List the cluster's nodes.
    Nodes(admin::Options),
    /// List the streams on air.
    Streams(admin::Options),
    /// Close a stream's publisher and refuse it for a while.
    Kick(admin::Kick),
    /// Say to which edge a viewer would be sent, and why each other one lost.
    Explain(admin::Explain),
    /// List decisions that were made, or explain one of them.
    Decisions(admin::Decisions),
    /// Send no new viewers to a node, or let it take them again.
    Drain(admin::Drain),
    /// Announce shows, so that their viewers are expected.
    #[command(subcommand)]
    Events(events::Command),
    /// Check, compare, try and apply what planning and steering are asked for.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Make tokens for publishers and viewers.
    #[command(subcommand)]
    Token(token::Command),
    /// Publish and watch by the thousand, to size a node.
    #[command(subcommand)]
    Load(load::Command),
    /// Forecast demand from a file of series, and say how good the forecasts are.
    #[command(subcommand)]
    Forecast(forecast::Command),
    /// Say what a policy would save in a world, beside simpler rules, and at what cost in quality.
    #[command(subcommand)]
    Simulate(simulate::Command),
}

#[derive(Args)]
struct Role {
    /// The configuration file.
    #[arg(long, short, default_value = "weir.toml", env = "WEIR_CONFIG")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Config {
    /// Read a file as a node would, and say what is wrong with it.
    Check {
        /// The configuration file.
        #[arg(default_value = "weir.toml")]
        file: PathBuf,
        /// Print the whole configuration, defaults filled in and secrets left out, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a file to start from.
    Example,
    /// Print docs/configuration.md, made from the configuration types.
    Docs,
}

/// Does what the command line says.
pub fn run() -> Result<()> {
    match Weir::parse().command {
        Command::Demo(options) => wait_for(demo::run(options)),
        Command::Origin(role) => wait_for(roles::origin(config::Config::load(&role.config)?)),
        Command::Edge(role) => wait_for(roles::edge(
            config::Config::load(&role.config)?,
            role.config,
        )),
        Command::Scheduler(role) => wait_for(roles::scheduler(config::Config::load(&role.config)?)),
        Command::Config(command) => config_command(command),
        Command::Nodes(options) => wait_for(admin::nodes(options)),
        Command::Streams(options) => wait_for(admin::streams(options)),
        Command::Kick(options) => wait_for(admin::kick(options)),
        Command::Explain(options) => wait_for(admin::explain(options)),
        Command::Decisions(options) => wait_for(admin::decisions(options)),
        Command::Drain(options) => wait_for(admin::drain(options)),
        Command::Events(command) => wait_for(events::run(command)),
        Command::Policy(command) => wait_for(policy::run(command)),
        Command::Token(command) => token::run(command),
        Command::Load(command) => wait_for(load::run(command)),
        Command::Forecast(command) => wait_for(forecast::run(command)),
        Command::Simulate(command) => wait_for(simulate::run(command)),
    }
}

fn wait_for(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

fn config_command(command: Config) -> Result<()> {
    match command {
        Config::Check { file, json } => {
            let config = config::Config::load(&file)?;
            match json {
                true => println!("{}", config::docs::filled(&config)?),
                false => println!("{} is valid", file.display()),
            }
        }
        Config::Example => print!("{}", config::docs::EXAMPLE),
        Config::Docs => print!("{}", config::docs::page()),
    }
    Ok(())
}
