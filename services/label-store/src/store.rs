//! The store as a whole: database, blobs, clock and limits, opened together from one data folder.

use std::{collections::HashSet, fs, path::Path, sync::Arc, time::Duration};

use saga_imaging::DecodeLimits;

use crate::{
    blobs::{Blobs, WriteCheck},
    clock::Clock,
    config::Config,
    database::Database,
    error::StoreError,
    ledger, slots,
};

/// How long a start waits for the process before it to let go of the data folder.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Handle to everything the store keeps; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) database: Database,
    pub(crate) blobs: Blobs,
    pub(crate) clock: Clock,
    pub(crate) config: Arc<Config>,
    /// Held while any clone lives: sweeping blobs under another process's feet would lose its images.
    _lock: Arc<fs::File>,
}

/// What a comparison of rows and blobs finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Blobs that no row refers to.
    pub orphans: usize,
    /// Blobs that a row refers to and that are not there.
    pub missing: usize,
}

impl Store {
    /// Opens the data folder, creates it where missing, and removes what a crash left.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another process has it open, and what disk and database report.
    pub async fn open(config: Config, clock: Clock) -> Result<Self, StoreError> {
        let folder = config.store.data_dir.clone();
        fs::create_dir_all(&folder).map_err(|e| StoreError::io("create", &folder, e))?;
        let lock = lock(&folder).await?;
        let database = Database::open(&folder.join("label-store.db")).await?;
        let blobs = Blobs::open(&folder.join("blobs"))?;
        let store = Self {
            database,
            blobs,
            clock,
            config: Arc::new(config),
            _lock: Arc::new(lock),
        };
        store.distrust_the_future().await?;
        let swept = store.blobs.sweep(&store.referenced().await?)?;
        if swept > 0 {
            tracing::warn!(swept, "removed files that an interrupted write had left");
        }
        Ok(store)
    }

    /// Takes back what only a clock that was set back since can have put so far ahead: such leases and permits would keep
    /// slots and keys from everybody until then.
    async fn distrust_the_future(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut transaction = self.database.write().await?;
        sqlx::query("UPDATE slots SET lease_expires = $1 WHERE lease_expires > $1 + $2")
            .bind(now)
            .bind(slots::MAX_TTL_MS)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("UPDATE permits SET sent_at = $1 WHERE sent_at > $1 + $2")
            .bind(now)
            .bind(ledger::MAX_WAIT_MS)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Lets a test make blob writes fail.
    #[must_use]
    pub fn with_write_check(mut self, check: WriteCheck) -> Self {
        self.blobs = self.blobs.with_write_check(check);
        self
    }

    /// Closes the database. Other clones can no longer use it.
    pub async fn close(self) {
        self.database.close().await;
    }

    /// Compares rows and blobs; all zero after a start.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        let referenced = self.referenced().await?;
        let there: HashSet<String> = self.blobs.list()?.into_iter().collect();
        Ok(Audit {
            orphans: there.difference(&referenced).count(),
            missing: referenced.difference(&there).count(),
        })
    }

    async fn referenced(&self) -> Result<HashSet<String>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT blake3 FROM images UNION SELECT blake3 FROM candidates WHERE blake3 IS NOT NULL
             UNION SELECT blake3 FROM requests WHERE blake3 IS NOT NULL",
        )
        .fetch_all(&mut *self.database.read().await?)
        .await?;
        Ok(rows.into_iter().collect())
    }

    pub(crate) fn decode_limits(&self) -> DecodeLimits {
        self.config.images.decode_limits()
    }
}

async fn lock(folder: &Path) -> Result<fs::File, StoreError> {
    let path = folder.join("lock");
    let file = fs::File::create(&path).map_err(|e| StoreError::io("create", &path, e))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(fs::TryLockError::Error(e)) => return Err(StoreError::io("lock", &path, e)),
        }
    }
    Err(StoreError::InUse {
        folder: folder.to_path_buf(),
    })
}

/// Runs file or image work on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| StoreError::Task(e.to_string()))?
}
