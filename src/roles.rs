//! One role in this process: load, run until told to stop.

use crate::{config::Config, console, logs};
use anyhow::{Context, Result};
use transport::drain::{self, Drain};

/// `weir origin`.
pub async fn origin(config: Config) -> Result<()> {
    let drain = start(&config)?;
    let common = config.common();
    let origin = origin::Origin::load(config.origin, common, drain).await;
    origin.context("the origin cannot start")?.run().await;
    Ok(())
}

/// `weir edge`.
pub async fn edge(config: Config) -> Result<()> {
    let drain = start(&config)?;
    let common = config.common();
    let edge = edge::Edge::load(config.edge, common, drain).await;
    edge.context("the edge cannot start")?.run().await;
    Ok(())
}

/// `weir scheduler`.
pub async fn scheduler(config: Config) -> Result<()> {
    let drain = start(&config)?;
    let common = config.common();
    let console = Some(console::router());
    let scheduler =
        scheduler::Scheduler::load(config.scheduler, config.geo, common, console, drain).await;
    scheduler.context("the scheduler cannot start")?.run().await
}

fn start(config: &Config) -> Result<Drain> {
    logs::start(&config.log)?;
    let drain = Drain::new();
    drain::on_signals(drain.clone())?;
    Ok(drain)
}
