//! Whether a node should be sent work: named conditions, all of which must hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::StatusCode;
use axum::Json;
use parking_lot::RwLock;
use serde::Serialize;

/// The conditions of one node; clones are the same conditions.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<RwLock<BTreeMap<&'static str, bool>>>);

impl Readiness {
    /// No conditions: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether a condition, named for people (`listening`, `plan`), holds.
    pub fn set(&self, condition: &'static str, holds: bool) {
        let before = self.0.write().insert(condition, holds);
        if before != Some(holds) {
            tracing::debug!(condition, holds, "readiness");
        }
    }

    /// Whether all conditions hold.
    pub fn is_ready(&self) -> bool {
        self.0.read().values().all(|holds| *holds)
    }

    pub(super) fn answer(&self, draining: bool) -> (StatusCode, Json<Report>) {
        let mut conditions = self.0.read().clone();
        conditions.insert("not draining", !draining);
        let missing: Vec<_> = conditions
            .iter()
            .filter(|(_, holds)| !**holds)
            .map(|(name, _)| *name)
            .collect();
        let ready = missing.is_empty();
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (
            status,
            Json(Report {
                ready,
                missing,
                conditions,
            }),
        )
    }
}

/// What `/readyz` answers.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    ready: bool,
    missing: Vec<&'static str>,
    conditions: BTreeMap<&'static str, bool>,
}
