//! The database: how it is opened, read and written. The only place that knows it is SQLite.
//!
//! There is one connection that writes, so that writers queue here instead of failing with "database is locked", and a
//! few that read. WAL lets readers go on while one writes. `synchronous=FULL` costs one fsync a commit and buys that a
//! settlement which was answered survives a power cut, not only a killed process.
//!
//! Statements elsewhere keep to what SQLite and PostgreSQL share: `$1` parameters, `ON CONFLICT`, `RETURNING`.

use std::{path::Path, time::Duration};

use sqlx::{
    Sqlite, SqlitePool,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// A connection, inside a transaction or not.
pub type Connection = sqlx::SqliteConnection;
/// A transaction that holds the only writing connection; rolled back where it is dropped without a commit.
pub type Transaction = sqlx::Transaction<'static, Sqlite>;

const READERS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// SQLite's code for "database or disk is full".
const SQLITE_FULL: &str = "13";

/// Handle to the database; clones share its connections.
#[derive(Clone, Debug)]
pub struct Database {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Database {
    /// Opens the database file, creates it where missing, and brings its schema up to date.
    pub async fn open(file: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(60))
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("./migrations").run(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { writer, readers })
    }

    /// Begins a writing transaction, after those that others have begun. It holds the write lock from its first
    /// statement on, so what it reads stays true until it commits.
    pub async fn write(&self) -> Result<Transaction, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// A connection for reading.
    pub async fn read(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        self.readers.acquire().await
    }

    /// Waits for statements under way and closes every connection.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Whether a statement failed because the disk is full.
pub fn is_disk_full(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|e| e.code())
        .is_some_and(|code| code == SQLITE_FULL)
}
