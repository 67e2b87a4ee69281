//! What can go wrong between us and the database, sorted by what a caller may do about it.

use std::path::PathBuf;

use model::{ErrorClass, Failure, IllegalTransition, InstanceId, SagaId, WorkloadId};

/// What the catalog's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal or failure of the catalog. No variant shows a URL with its password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another controller has the SQLite file.
    #[error("the database {} is in use by another controller: stop that one first, or use MariaDB, which serves several", path.display())]
    InUse { path: PathBuf },
    /// The setting names no database we know.
    #[error(
        "the database url is not valid: {reason}; expected sqlite:PATH or mysql://USER:PASSWORD@HOST/DATABASE"
    )]
    Url { reason: String },
    /// The lock file or the folder of the SQLite database cannot be used.
    #[error("failed to open {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// User, password or database name are wrong: patience does not help.
    #[error("the database at {place} refuses us: check user, password and database name")]
    Refused {
        place: String,
        #[source]
        source: sqlx::Error,
    },
    /// The tables are older than this program, or were never made.
    #[error(
        "the database has schema version {found}, this program needs {expected}: run `holdfast-controller db sync`"
    )]
    NotSynced { found: i64, expected: i64 },
    /// The tables are newer than this program.
    #[error(
        "the database has schema version {found}, this program knows {expected}: upgrade this controller"
    )]
    TooNew { found: i64, expected: i64 },
    /// No connection, or it broke. What was not committed did not happen.
    #[error("the database does not answer ({doing})")]
    Unavailable {
        doing: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// The connection broke during the commit: it may have happened.
    #[error("the database did not say whether it committed")]
    CommitUnknown {
        #[source]
        source: sqlx::Error,
    },
    /// No space is left where the database lives.
    #[error("the database has no space left ({doing}): free space on its disk")]
    Full {
        doing: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// Somebody else changed the row first, or the database chose our transaction as a deadlock's victim.
    ///
    /// `retryable`: the same transaction may be run again from its start; else load anew and decide again.
    #[error("{what} was changed by another transaction")]
    Conflict { what: String, retryable: bool },
    /// A key is there already. The transaction goes on: read the old row.
    #[error("{statement} met an existing row ({key})")]
    Duplicate { statement: &'static str, key: String },
    /// An instance belongs to one workload at most.
    #[error(
        "instance {instance_id} is already protected by workload {held_by}, so workload {wanted_by} cannot have it: remove it there first"
    )]
    InstanceTaken { instance_id: InstanceId, held_by: WorkloadId, wanted_by: WorkloadId },
    /// Another saga is at work.
    #[error("{noun} {id} is held by saga {holder}: wait for that job or cancel it")]
    Held { noun: &'static str, id: String, holder: SagaId },
    /// A snapshot that something reads cannot go.
    #[error("snapshot {id} is in use {pins} times: wait for the jobs that read it")]
    Pinned { id: model::SnapshotId, pins: u32 },
    /// The lease or the lock is no longer ours.
    #[error("{noun} {id} is no longer held by saga {holder}")]
    Fenced { noun: &'static str, id: String, holder: SagaId },
    /// No such row.
    #[error("there is no {noun} {id}")]
    NotFound { noun: &'static str, id: String },
    /// The state machine says no.
    #[error(transparent)]
    IllegalTransition(#[from] IllegalTransition),
    /// A stored value is not what its column holds: a bug, or somebody else wrote to our tables.
    #[error("column {column} of {statement} cannot be read: {reason}")]
    Decode { statement: &'static str, column: &'static str, reason: String },
    /// A key is longer than both back ends can index.
    #[error("{what} has {length} characters; at most {length_max} are allowed")]
    TooLong { what: &'static str, length: usize, length_max: usize },
    /// The database refuses a value, for example a word of more than 190 characters.
    #[error("the database refuses a value given to {statement}")]
    Value {
        statement: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// Used after an error that ends a transaction.
    #[error("the transaction broke at {statement} and cannot go on: begin a new one")]
    Broken { statement: &'static str },
    /// Anything else the database says.
    #[error("failed to run {statement}")]
    Statement {
        statement: &'static str,
        #[source]
        source: sqlx::Error,
    },
}

impl Error {
    /// Whether the same transaction may simply be run again from its start.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict { retryable: true, .. })
    }

    /// What a retry may hope for.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable { .. } | Self::Full { .. } | Self::NotSynced { .. } => ErrorClass::Transient,
            Self::CommitUnknown { .. } => ErrorClass::Indeterminate,
            Self::InUse { .. } | Self::Conflict { .. } | Self::Held { .. } | Self::Pinned { .. } => {
                ErrorClass::Contention
            }
            Self::Fenced { .. } => ErrorClass::Fenced,
            Self::Url { .. }
            | Self::File { .. }
            | Self::Refused { .. }
            | Self::TooNew { .. }
            | Self::Duplicate { .. }
            | Self::InstanceTaken { .. }
            | Self::NotFound { .. }
            | Self::IllegalTransition(_)
            | Self::TooLong { .. }
            | Self::Value { .. } => ErrorClass::Permanent,
            Self::Decode { .. } | Self::Broken { .. } | Self::Statement { .. } => ErrorClass::Bug,
        }
    }

    /// The stable code; each has a row in docs/errors.md.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "DATABASE_IN_USE",
            Self::Url { .. } => "DATABASE_URL_INVALID",
            Self::File { .. } => "DATABASE_FILE_UNUSABLE",
            Self::Refused { .. } => "DATABASE_REFUSED",
            Self::NotSynced { .. } => "DATABASE_NOT_SYNCED",
            Self::TooNew { .. } => "DATABASE_TOO_NEW",
            Self::Unavailable { .. } => "DATABASE_UNAVAILABLE",
            Self::CommitUnknown { .. } => "DATABASE_COMMIT_UNKNOWN",
            Self::Full { .. } => "DATABASE_FULL",
            Self::Conflict { .. } => "DATABASE_CONFLICT",
            Self::Duplicate { .. } => "DATABASE_DUPLICATE",
            Self::InstanceTaken { .. } => "INSTANCE_ALREADY_PROTECTED",
            Self::Held { .. } => "RESOURCE_HELD",
            Self::Pinned { .. } => "SNAPSHOT_IN_USE",
            Self::Fenced { .. } => "LEASE_LOST",
            Self::NotFound { .. } => "RESOURCE_NOT_FOUND",
            Self::IllegalTransition(_) => "STATE_REFUSED",
            Self::TooLong { .. } | Self::Value { .. } => "DATABASE_VALUE_REFUSED",
            Self::Decode { .. } => "DATABASE_ROW_UNREADABLE",
            Self::Broken { .. } => "DATABASE_TRANSACTION_BROKEN",
            Self::Statement { .. } => "DATABASE_STATEMENT_FAILED",
        }
    }

    /// The error as it goes to users and into the saga's log.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::new(self.class(), self.code(), self.to_string())
    }

    /// Sorts an error of sqlx met while doing `statement`.
    pub(crate) fn from_sqlx(statement: &'static str, source: sqlx::Error) -> Self {
        match Cause::of(&source) {
            Cause::Gone => Self::Unavailable { doing: statement, source },
            Cause::Full => Self::Full { doing: statement, source },
            Cause::Contended => Self::Conflict { what: format!("a row of {statement}"), retryable: true },
            Cause::Duplicate => Self::Duplicate { statement, key: duplicate_key(&source) },
            Cause::Value => Self::Value { statement, source },
            Cause::NoTables => Self::NotSynced { found: 0, expected: crate::schema::VERSION },
            Cause::Refused | Cause::Other => Self::Statement { statement, source },
        }
    }

    /// Sorts an error of sqlx met while opening a connection to `place` (no password in it).
    pub(crate) fn from_connect(place: &str, source: sqlx::Error) -> Self {
        match Cause::of(&source) {
            Cause::Refused => Self::Refused { place: place.to_owned(), source },
            _ => Self::from_sqlx("connect", source),
        }
    }
}

/// What an error of either back end comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Gone,
    Refused,
    Full,
    Contended,
    Duplicate,
    Value,
    NoTables,
    Other,
}

impl Cause {
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Gone,
            sqlx::Error::Database(error) => {
                if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
                    return Self::of_mariadb(error.number());
                }
                let code = error.code().and_then(|code| code.parse::<i32>().ok());
                code.map_or(Self::Other, |code| Self::of_sqlite(code, error.message()))
            }
            _ => Self::Other,
        }
    }

    /// Source: <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
    const fn of_mariadb(number: u16) -> Self {
        match number {
            // Deadlock, lock wait timeout, record changed since last read.
            1213 | 1205 | 1020 => Self::Contended,
            1062 | 1169 | 1586 => Self::Duplicate,
            // Disk full (writing waits or fails), table full, temporary space exceeded.
            1021 | 1114 | 1041 | 4201 => Self::Full,
            1044 | 1045 | 1049 | 1698 => Self::Refused,
            // Shutdown, network, too many connections, gone away, killed, node not ready (Galera).
            1053 | 1158..=1161 | 1040 | 1203 | 2006 | 2013 | 1927 | 1317 | 1047 => Self::Gone,
            // Too long, out of range, wrong value, constraint, no default.
            1406 | 1264 | 1265 | 1366 | 1048 | 1364 | 4025 | 1452 => Self::Value,
            1146 => Self::NoTables,
            _ => Self::Other,
        }
    }

    /// Source: <https://www.sqlite.org/rescode.html>; extended codes keep the primary one in the low byte.
    fn of_sqlite(code: i32, message: &str) -> Self {
        match (code, code & 0xff) {
            (1555 | 2067 | 2579, _) => Self::Duplicate,
            (_, 5 | 6) => Self::Contended,
            // Full; or the shared memory file of the WAL could not grow.
            (_, 13) | (4874, _) => Self::Full,
            (_, 10 | 14) => Self::Gone,
            (_, 18..=20) => Self::Value,
            (_, 1) if message.contains("no such table") => Self::NoTables,
            _ => Self::Other,
        }
    }
}

/// The key a unique violation names, without the values.
fn duplicate_key(error: &sqlx::Error) -> String {
    let message = error.as_database_error().map_or("", |error| error.message());
    let after =
        |mark: &str| message.rsplit_once(mark).map(|(_, rest)| rest.trim().trim_matches('\'').to_owned());
    after("for key").or_else(|| after("constraint failed:")).unwrap_or_else(|| "unique key".to_owned())
}
