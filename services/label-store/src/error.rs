//! What can go wrong in the store, and the one place that says it as a gRPC status.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use saga_chassis::status;
use tonic::Status;

use crate::database;

/// A full disk is a person's work to mend, so trying again soon is of no use.
const RETRY_AFTER_DISK_FULL: Duration = Duration::from_secs(60);

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A field of the request is wrong.
    #[error("{field}: {why}")]
    Invalid { field: String, why: String },
    /// There is no such thing.
    #[error("{message}")]
    NotFound {
        reason: &'static str,
        message: String,
    },
    /// The name is taken by other contents.
    #[error("{message}")]
    AlreadyExists { message: String },
    /// The request does not fit the state of things.
    #[error("{message}")]
    Precondition {
        reason: &'static str,
        message: String,
    },
    /// No key is free in time.
    #[error("{message}")]
    Exhausted { message: String, retry_ms: i64 },
    /// The golden set was asked for by another way than ReadGolden.
    #[error(
        "the golden split is sealed: only GoldenService.ReadGolden hands it out, and records who reads"
    )]
    GoldenSealed,
    /// The disk has no room left; nothing of the request was kept.
    #[error("no space left in {}: free some and try again; nothing was lost", folder.display())]
    DiskFull { folder: PathBuf },
    /// A file of the store or of an export cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("database schema: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A blob is gone or is not what its name says.
    #[error("blob {blake3} is {what}; restore the data folder from a copy")]
    Damaged { blake3: String, what: &'static str },
    /// A column holds what this version never writes.
    #[error("the database holds a value this version cannot read: {0}")]
    Corrupt(String),
    /// Another process uses the data folder.
    #[error("{} is in use by another label store; stop it or choose another data_dir", folder.display())]
    InUse { folder: PathBuf },
    /// A task of the store ended early.
    #[error("a task of the store ended early: {0}")]
    Task(String),
}

impl StoreError {
    /// A wrong field.
    pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            why: why.into(),
        }
    }

    /// A failed file operation; a full disk is told apart and named by its folder.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                folder: path.parent().unwrap_or(path).to_path_buf(),
            },
            _ => Self::Io {
                action,
                path: path.to_path_buf(),
                source,
            },
        }
    }
}

/// The status of an error; `data_dir` is the folder to name where the database has no room left.
pub fn to_status(error: &StoreError, data_dir: &Path) -> Status {
    let message = error.to_string();
    match error {
        StoreError::Invalid { field, why } => status::invalid_argument(field, why),
        StoreError::NotFound { reason, .. } => status::not_found(reason, message),
        StoreError::AlreadyExists { .. } => status::already_exists("OTHER_CONTENTS", message),
        StoreError::Precondition { reason, .. } => status::failed_precondition(reason, message),
        StoreError::Exhausted { retry_ms, .. } => {
            status::resource_exhausted(message, Duration::from_millis(retry_ms.unsigned_abs()))
        }
        StoreError::GoldenSealed => status::permission_denied("GOLDEN_SEALED", message),
        StoreError::DiskFull { .. } => status::resource_exhausted(message, RETRY_AFTER_DISK_FULL),
        StoreError::Database(e) if database::is_disk_full(e) => {
            let full = StoreError::DiskFull {
                folder: data_dir.to_path_buf(),
            };
            status::resource_exhausted(full.to_string(), RETRY_AFTER_DISK_FULL)
        }
        StoreError::Damaged { .. } | StoreError::Corrupt(_) => Status::data_loss(message),
        StoreError::Io { .. } => status::internal("FILE_FAILED", message),
        StoreError::Database(_) | StoreError::Migration(_) => {
            status::internal("DATABASE_FAILED", message)
        }
        StoreError::InUse { .. } => status::unavailable("DATA_FOLDER_IN_USE", message),
        StoreError::Task(_) => status::internal("TASK_ENDED", message),
    }
}
