//! What an origin remembers over a restart: how far it has counted discontinuities.
//!
//! All other numbers start from the clock and are ahead of what was given out before. Discontinuities
//! cannot: players walk a table of that length with each playlist, so they count from the hours, and
//! an origin that restarts within the hour would give a number of its last life to another time line.
//! The file holds one decimal number; without one nothing is remembered.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context as _;

/// The file, and what it holds.
#[derive(Debug)]
pub(crate) struct State {
    path: Option<PathBuf>,
    written: u64,
}

impl State {
    /// Reads the file, if there is one, and sees that it can be written.
    pub(crate) async fn load(path: Option<PathBuf>) -> anyhow::Result<Self> {
        let mut state = Self { path, written: 0 };
        let Some(path) = state.path.clone() else {
            return Ok(state);
        };
        let told = || format!("[origin] state = {path:?}");
        let text = match tokio::fs::read_to_string(&path).await {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => "0".to_owned(),
            Err(error) => return Err(error).with_context(told),
        };
        let count: u64 = text.trim().parse().with_context(told)?;
        state.write(count).await.with_context(told)?;
        Ok(state)
    }

    /// Above all that was given out before, also in the moment before the end.
    pub(crate) fn floor(&self) -> u64 {
        match self.written {
            0 => 0,
            count => count.saturating_add(UNWRITTEN),
        }
    }

    /// Remembers how far it is by now.
    pub(crate) async fn save(&mut self, count: u64) {
        if self.path.is_none() || count <= self.written {
            return;
        }
        if let Err(error) = self.write(count).await {
            tracing::warn!(%error, "[origin] state cannot be written");
        }
    }

    /// Replaces the file at once: it is never half a number.
    async fn write(&mut self, count: u64) -> std::io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        self.written = count;
        let new = path.with_extension("new");
        tokio::fs::write(&new, count.to_string()).await?;
        tokio::fs::rename(&new, path).await
    }
}

/// Discontinuities of one stream between two looks, half a second apart, and more than that.
const UNWRITTEN: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_counted_is_above_it_in_the_next_life() {
        let dir = tempfile::tempdir().unwrap();
        let path = Some(dir.path().join("state"));
        let mut first = State::load(path.clone()).await.unwrap();
        assert_eq!(first.floor(), 0);
        first.save(60_000).await;
        first.save(7).await;
        let second = State::load(path).await.unwrap();
        assert_eq!(second.floor(), 60_000 + UNWRITTEN);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_said_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let broken = dir.path().join("broken");
        std::fs::write(&broken, "many").unwrap();
        for path in [broken, dir.path().join("none/state")] {
            let error = State::load(Some(path)).await.unwrap_err();
            assert!(error.to_string().contains("[origin] state"), "{error}");
        }
        let mut none = State::load(None).await.unwrap();
        none.save(1).await;
        assert_eq!(none.floor(), 0);
    }
}
