//! What goes on beside policies: the operator's file is watched, and viewers of canaries are.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use cluster::node::NodeId;
use cluster::region::Region;
use cluster::sample::RegionLoad;
use tokio_util::sync::CancellationToken;

use super::Policies;
use super::shelf::Shelf;
use crate::snapshot::Snapshot;

/// How soon a changed file is noticed. It is read once it has stood as it is for as long, so that
/// one that is being written is not read half.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How often samples come.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Samples in a window of observation.
const WINDOW: u32 = 5;

/// Reloads a changed file until cancelled.
pub async fn watch(shelf: Arc<Shelf>, stop: CancellationToken) {
    let Some(file) = shelf.file().map(Path::to_path_buf) else {
        return;
    };
    // Read when the shelf was opened; looked at once more, since it may have changed meanwhile.
    let mut read = None;
    let mut before = fingerprint(&file);
    while pause(&stop, WATCH_EVERY).await {
        let now = fingerprint(&file);
        if now == before && read.as_ref() != Some(&now) {
            let shelf = shelf.clone();
            let reload = tokio::task::spawn_blocking(move || shelf.reload());
            reload.await.expect("reading a file does not panic");
            read = Some(now);
        }
        before = now;
    }
}

/// When it was last written and how long it is; None where there is none.
fn fingerprint(file: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Hands over each change of the policies in force until cancelled.
pub async fn obey(
    shelf: Arc<Shelf>,
    obey: impl Fn(Arc<Policies>) + Send + 'static,
    stop: CancellationToken,
) {
    let mut changes = shelf.changes();
    obey(changes.borrow_and_update().clone());
    while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
        let policies = changes.borrow_and_update().clone();
        obey(policies);
    }
}

/// Follows how viewers fare until cancelled, and ends canaries that harm them. `outside` says who
/// was turned away here.
pub async fn observe(
    shelf: Arc<Shelf>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    outside: impl Fn() -> HashMap<Region, u32> + Send + 'static,
    stop: CancellationToken,
) {
    let mut seen: HashMap<NodeId, (u64, u64)> = HashMap::new();
    for nth in 1u32.. {
        if !pause(&stop, SAMPLE_EVERY).await {
            return;
        }
        let now = snapshot.load_full();
        let mut loads: Vec<RegionLoad> = Vec::new();
        let mut marks = HashMap::with_capacity(now.nodes.len());
        for view in now.nodes.iter().filter(|view| view.is_edge) {
            let sample = &view.sample;
            let mark = (sample.seq, sample.at_ms);
            if seen.get(&sample.node.id) != Some(&mark) {
                loads.extend_from_slice(&sample.regions);
            }
            marks.insert(sample.node.id.clone(), mark);
        }
        seen = marks;
        let seconds = SAMPLE_EVERY.as_secs_f64();
        shelf.observe(loads.iter(), outside().into_iter(), seconds);
        if nth.is_multiple_of(WINDOW) {
            let shelf = shelf.clone();
            let judge = tokio::task::spawn_blocking(move || shelf.judge());
            judge.await.expect("sums do not panic");
        }
    }
}

/// False once it is over.
async fn pause(stop: &CancellationToken, time: Duration) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(time))
        .await
        .is_some()
}
