//! One role in this process: load, run until told to stop.

use crate::{config::Config, console, logs};
use anyhow::{Context, Result};
use edge::limits::Limits;
use std::path::PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};
use transport::{
    drain::{self, Drain},
    limit,
};

/// `weir origin`.
pub async fn origin(config: Config) -> Result<()> {
    let drain = start(&config.log)?;
    let common = config.common();
    let origin = origin::Origin::load(config.origin, config.hls, common, drain).await;
    origin.context("the origin cannot start")?.run().await;
    Ok(())
}

/// `weir edge`.
pub async fn edge(config: Config, file: PathBuf) -> Result<()> {
    let drain = start(&config.log)?;
    let common = config.common();
    let edge = edge::Edge::load(config.edge, common, drain.clone()).await;
    let edge = edge.context("the edge cannot start")?;
    drain.background(reread(edge.limits(), signal(SignalKind::hangup())?, file));
    edge.run().await;
    Ok(())
}

/// Takes the edge's limits from the file again at each SIGHUP. Never ends.
async fn reread(limits: Limits, mut hangup: Signal, file: PathBuf) {
    while hangup.recv().await.is_some() {
        match Config::load(&file) {
            Ok(config) => limits.set(config.edge.capacity),
            Err(error) => tracing::error!("[edge.capacity] stays as it is: {error:#}"),
        }
    }
}

/// `weir scheduler`.
pub async fn scheduler(config: Config) -> Result<()> {
    let drain = start(&config.log)?;
    let common = config.common();
    let console = Some(console::router());
    let scheduler =
        scheduler::Scheduler::load(config.scheduler, config.geo, common, console, drain).await;
    let scheduler = scheduler.context("the scheduler cannot start")?;
    scheduler
        .streams(&config.stream)?
        .prices(&config.price)?
        .pathways(&config.pathway)?
        .run()
        .await
}

/// What comes before any role: logging, descriptors, signals.
pub fn start(log: &logs::Config) -> Result<Drain> {
    logs::start(log)?;
    if let Err(error) = limit::raise_descriptors() {
        tracing::warn!(%error, "the limit of open files stays as it is: fewer viewers can connect");
    }
    let drain = Drain::new();
    drain::on_signals(drain.clone())?;
    Ok(drain)
}
