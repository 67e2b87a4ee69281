//! Opening a database, and transactions on it. SQLite: one writing connection, some reading ones. MariaDB: a pool.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::Clock;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Database, Executor as _};

use crate::error::{Error, Result};
use crate::lock::FileLock;
use crate::schema;
use crate::tx::{Tx, TxOf};

/// Readers of SQLite: REST requests and the relay, while the one writer works.
const SQLITE_READERS_MAX: u32 = 4;
/// Connections of one controller to MariaDB: its default of 151 serves several controllers.
const MARIADB_CONNECTIONS_MAX: u32 = 16;
/// How long one waits for a connection, and so for SQLite's one writer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long SQLite waits for a lock of another program, for example a backup of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often [`Catalog::transaction`] runs its work when the database asks to run it again.
const RUNS_MAX: u32 = 5;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    Sqlite,
    MariaDb,
}

/// An open database. Cheap to clone; the SQLite lock is held until the last clone and the last `Tx` are gone.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

/// What transactions share.
pub(crate) struct Inner {
    pools: Pools,
    pub(crate) clock: Arc<dyn Clock>,
    executed: Mutex<BTreeSet<&'static str>>,
    place: String,
}

enum Pools {
    Sqlite { writer: SqlitePool, readers: SqlitePool, _lock: FileLock },
    MariaDb(MySqlPool),
}

/// The work of [`Catalog::transaction`], as it runs.
pub type TxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl Catalog {
    /// Opens `sqlite:PATH` (made and synced when missing) or `mysql://USER:PASSWORD@HOST/DATABASE` (see [`Self::migrate`]).
    ///
    /// Errors: `InUse`, `Url`, `File`, `Refused`, `Unavailable`, `TooNew`.
    pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let (pools, place) = match url.split_once(':') {
            Some(("sqlite", path)) => open_sqlite(path.strip_prefix("//").unwrap_or(path)).await?,
            Some(("mysql" | "mariadb", rest)) => open_mariadb(rest).await?,
            _ => return Err(Error::Url { reason: "it begins with neither sqlite: nor mysql:".to_owned() }),
        };
        let catalog = Self { inner: Arc::new(Inner { pools, clock, executed: Mutex::default(), place }) };
        if catalog.backend() == Backend::Sqlite {
            catalog.migrate().await?;
        }
        Ok(catalog)
    }

    /// Makes or upgrades the tables (`holdfast-controller db sync`); may be run again at any time, also by two at once.
    ///
    /// Errors: `TooNew` when the tables are of a later program.
    pub async fn migrate(&self) -> Result<()> {
        schema::migrate(self).await
    }

    /// Checks that the tables are those of this program: what a service does before it starts to work.
    ///
    /// Errors: `NotSynced`, `TooNew`.
    pub async fn require_schema(&self) -> Result<()> {
        schema::require(self).await
    }

    /// Which database it is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match &self.inner.pools {
            Pools::Sqlite { .. } => Backend::Sqlite,
            Pools::MariaDb(_) => Backend::MariaDb,
        }
    }

    /// Where it is, for logs: a path or `user@host:port/database`, without the password.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// Begins a transaction that writes. On SQLite it waits for the one writer.
    pub async fn begin(&self) -> Result<Tx> {
        let inner = match &self.inner.pools {
            // A deferred transaction that reads first and writes then would fail with "busy" instead of waiting.
            Pools::Sqlite { writer, .. } => writer.begin_with("BEGIN IMMEDIATE").await.map(TxOf::Sqlite),
            Pools::MariaDb(pool) => pool.begin().await.map(TxOf::MariaDb),
        };
        let inner = inner.map_err(|error| Error::from_connect(&self.inner.place, error))?;
        Ok(Tx::new(inner, Arc::clone(&self.inner)))
    }

    /// Begins a transaction that only reads: it waits for no writer. Drop it when done.
    pub async fn read(&self) -> Result<Tx> {
        let inner = match &self.inner.pools {
            Pools::Sqlite { readers, .. } => readers.begin().await.map(TxOf::Sqlite),
            Pools::MariaDb(pool) => pool.begin().await.map(TxOf::MariaDb),
        };
        let inner = inner.map_err(|error| Error::from_connect(&self.inner.place, error))?;
        Ok(Tx::new(inner, Arc::clone(&self.inner)))
    }

    /// Runs `work` in a transaction and commits; runs it again when the database asks for that (deadlock, lock wait).
    ///
    /// `work` may run several times: it keeps its effects in the transaction, and clones what its future needs.
    pub async fn transaction<T, F>(&self, mut work: F) -> Result<T>
    where
        F: for<'a> FnMut(&'a mut Tx) -> TxFuture<'a, T>,
    {
        let mut run = 1;
        loop {
            let mut tx = self.begin().await?;
            let outcome = work(&mut tx).await;
            let outcome = match outcome {
                Ok(value) => tx.commit().await.map(|()| value),
                Err(error) => {
                    tx.rollback().await;
                    Err(error)
                }
            };
            match outcome {
                Err(error) if error.is_retryable() && run < RUNS_MAX => {
                    tracing::debug!(run, error = %error, "transaction runs again");
                    tokio::time::sleep(Duration::from_millis(5) * run).await;
                    run += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Closes all connections after the transactions that still run.
    pub async fn close(&self) {
        match &self.inner.pools {
            Pools::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::MariaDb(pool) => pool.close().await,
        }
    }

    /// The names of the statements this catalog ran so far; always empty in release builds.
    #[must_use]
    pub fn executed_statements(&self) -> BTreeSet<&'static str> {
        self.inner.executed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs DDL outside of a transaction: MariaDB commits at each such statement anyway.
    pub(crate) async fn execute_ddl(&self, sql: String) -> Result<()> {
        let sql = sqlx::AssertSqlSafe(sql);
        let outcome = match &self.inner.pools {
            Pools::Sqlite { writer, .. } => writer.execute(sqlx::raw_sql(sql)).await.map(drop),
            Pools::MariaDb(pool) => pool.execute(sqlx::raw_sql(sql)).await.map(drop),
        };
        match outcome {
            // Neither back end has a portable `ADD COLUMN IF NOT EXISTS`; both say it in these words.
            Err(sqlx::Error::Database(error))
                if error.message().to_lowercase().contains("duplicate column name") =>
            {
                Ok(())
            }
            outcome => outcome.map_err(|error| Error::from_sqlx("a migration", error)),
        }
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("place", &self.inner.place).finish_non_exhaustive()
    }
}

impl Inner {
    /// Notes that `statement` ran, for the test that compares what ran with the registry.
    pub(crate) fn note_executed(&self, statement: &'static str) {
        if cfg!(debug_assertions) {
            self.executed.lock().unwrap_or_else(PoisonError::into_inner).insert(statement);
        }
    }
}

async fn open_sqlite(path: &str) -> Result<(Pools, String)> {
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() || path.starts_with(':') {
        return Err(Error::Url { reason: "sqlite: needs the path of a file".to_owned() });
    }
    let path = PathBuf::from(path);
    let lock = FileLock::take(&path)?;
    let options = sqlite_options(&path);
    let place = path.display().to_string();
    let writer = sqlite_pool_options(1).connect_with(options.clone()).await;
    let writer = writer.map_err(|error| Error::from_connect(&place, error))?;
    let readers = sqlite_pool_options(SQLITE_READERS_MAX);
    let readers = readers.connect_lazy_with(options.pragma("query_only", "ON"));
    Ok((Pools::Sqlite { writer, readers, _lock: lock }, place))
}

fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit that was acked to the broker must survive a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

fn sqlite_pool_options(connections_max: u32) -> SqlitePoolOptions {
    pool_options::<sqlx::Sqlite>(connections_max).idle_timeout(None).max_lifetime(None).after_release(
        |connection, _| {
            Box::pin(async move {
                // When a disk is full SQLite rolls back by itself, which sqlx does not see: it would take the connection
                // to be in a transaction for ever, and the one writer with it. The ping waits for a rollback under way.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        },
    )
}

async fn open_mariadb(rest: &str) -> Result<(Pools, String)> {
    // The parser's own error may repeat the text, and with it the password.
    let refusal = || Error::Url { reason: "it cannot be parsed".to_owned() };
    let url = format!("mysql:{rest}");
    let parsed = url::Url::parse(&url).map_err(|_| refusal())?;
    let options = MySqlConnectOptions::from_str(&url).map_err(|_| refusal())?.disable_statement_logging();
    let database = parsed.path().trim_start_matches('/');
    if database.is_empty() {
        return Err(Error::Url { reason: "it names no database".to_owned() });
    }
    let (user, host) = (parsed.username(), parsed.host_str().unwrap_or("localhost"));
    let place = format!("{user}@{host}:{}/{database}", parsed.port().unwrap_or(3306));
    let pool: MySqlPoolOptions = pool_options::<sqlx::MySql>(MARIADB_CONNECTIONS_MAX);
    let pool = pool.after_connect(|connection, _| {
        Box::pin(async move {
            // A read must see what was committed before it, or a lost compare-and-swap would look like a missing row.
            connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
            // Cut texts or numbers silently? Never. And a wait for a lock ends before our callers give up.
            connection
                .execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), innodb_lock_wait_timeout = 10")
                .await?;
            Ok(())
        })
    });
    let pool = pool.connect_with(options).await.map_err(|error| Error::from_connect(&place, error))?;
    Ok((Pools::MariaDb(pool), place))
}

fn pool_options<D: Database>(connections_max: u32) -> sqlx::pool::PoolOptions<D> {
    sqlx::pool::PoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // Waiting for SQLite's one writer is no news.
        .acquire_slow_level("off".parse().expect("`off` is a level"))
}
