//! What a running emulator keeps: keys, clocks, callers and request counts, with the operations
//! that concern all clouds at once.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use kmslab_emulator_api::{ClockMoved, Clocks, Endpoints, KeyTable, RequestCounts};
use kmslab_keycore::{Clock, ClockError, DueChanges, LabClock};
use tokio_util::sync::CancellationToken;

use crate::router::Services;
use crate::seed::{SeedError, SeedFile};

const SKIPPED: &str = "one move makes at most the newest 32 versions of an RSA key and 1000 of another; older ones that were due are left out: move \
                       the clock in smaller steps to have them all";

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) services: Services,
    pub(crate) lab: Arc<LabClock>,
    pub(crate) wall: Arc<dyn Clock>,
    pub(crate) seed: SeedFile,
    /// Addresses, without the key file.
    pub(crate) endpoints: Endpoints,
    /// Key file of Google's service account with all permissions, if one was written.
    pub(crate) gcp_key_file: OnceLock<PathBuf>,
    /// Held while due changes are applied to all keys, so that the result of a clock move counts
    /// its own changes only.
    pub(crate) applying_due: tokio::sync::Mutex<()>,
}

impl State {
    pub(crate) fn clocks(&self) -> Clocks {
        Clocks {
            lab: self.lab.now(),
            wall: self.wall.now(),
        }
    }

    /// Advances the lab clock and applies what becomes due.
    pub(crate) async fn advance_clock(&self, by: Duration) -> Result<ClockMoved, ClockError> {
        self.move_clock(|lab| lab.advance(by).map(drop)).await
    }

    /// Sets the lab clock and applies what becomes due.
    pub(crate) async fn set_clock(&self, time: Timestamp) -> Result<ClockMoved, ClockError> {
        self.move_clock(|lab| lab.set(time)).await
    }

    async fn move_clock(
        &self,
        change: impl FnOnce(&LabClock) -> Result<(), ClockError>,
    ) -> Result<ClockMoved, ClockError> {
        let applied = self.apply_due_after(|| change(&self.lab)).await?;
        Ok(ClockMoved {
            clocks: self.clocks(),
            rotated: applied.rotated,
            deleted: applied.deleted,
            skipped: applied.skipped,
            note: (applied.skipped > 0).then(|| SKIPPED.to_owned()),
        })
    }

    /// Applies what is due by the lab clock to all keys.
    pub(crate) async fn apply_due(&self) {
        // Nothing comes before it that could fail.
        let _: Result<_, std::convert::Infallible> = self.apply_due_after(|| Ok(())).await;
    }

    /// Runs `before`, then applies what is due. Runs on a blocking thread, since a long jump over
    /// many keys generates much key material, and stops when the caller is cancelled.
    async fn apply_due_after<E>(
        &self,
        before: impl FnOnce() -> Result<(), E>,
    ) -> Result<DueChanges, E> {
        let _one = self.applying_due.lock().await;
        before()?;
        let waits = CancellationToken::new();
        let _waits = waits.clone().drop_guard();
        let services = self.services.clone();
        let applied = tokio::task::spawn_blocking(move || {
            services.apply_due_while(&|| !waits.is_cancelled())
        });
        Ok(applied.await.unwrap_or_default())
    }

    /// All keys of all clouds, after their due rotations.
    pub(crate) async fn key_table(&self) -> KeyTable {
        let services = self.services.clone();
        tokio::task::spawn_blocking(move || services.key_table())
            .await
            .unwrap_or_default()
    }

    /// All addresses.
    pub(crate) fn endpoints(&self) -> Endpoints {
        Endpoints {
            gcp_key_file: self.gcp_key_file.get().cloned(),
            ..self.endpoints.clone()
        }
    }

    pub(crate) fn requests(&self) -> RequestCounts {
        self.services.pipeline.counter.snapshot()
    }

    /// Removes all keys, callers and request counts, and applies the seed.
    pub(crate) async fn reset(self: &Arc<Self>) -> Result<(), SeedError> {
        self.services.reset().map_err(SeedError::Reset)?;
        self.apply_seed().await
    }

    /// Everything that there is, as a seed file. Without `with_material`, key material and what
    /// callers log in with are left out.
    pub(crate) async fn export(&self, with_material: bool) -> Result<SeedFile, SeedError> {
        let services = self.services.clone();
        let exported = tokio::task::spawn_blocking(move || {
            SeedFile::export(&services.aws, &services.azure, &services.gcp, with_material)
        });
        let exported = exported.await.map_err(|_| SeedError::Stopped)?;
        exported.map_err(|error| SeedError::Export(error.to_string()))
    }

    /// Applies the seed. Runs on a blocking thread, since a seed may contain RSA keys.
    pub(crate) async fn apply_seed(self: &Arc<Self>) -> Result<(), SeedError> {
        let state = Arc::clone(self);
        let applied = tokio::task::spawn_blocking(move || {
            let services = &state.services;
            state
                .seed
                .apply(&services.aws.aws, &services.azure, &services.gcp)
        });
        applied.await.unwrap_or(Err(SeedError::Stopped))
    }
}
