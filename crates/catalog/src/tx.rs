//! One transaction on either back end. Dropped without a commit it leaves nothing.

use std::fmt;
use std::sync::Arc;

use model::Timestamp;
use sqlx::{MySql, Sqlite, Transaction};

use crate::database::Inner;
use crate::error::{Cause, Error, Result};
use crate::statement::{Statement, statements};
use crate::value::{Row, RowOf, Value};

statements! {
    SAVEPOINT = "SAVEPOINT event";
    ROLLBACK_TO_SAVEPOINT = "ROLLBACK TO SAVEPOINT event";
    RELEASE_SAVEPOINT = "RELEASE SAVEPOINT event";
}

/// A running transaction.
pub struct Tx {
    inner: TxOf,
    shared: Arc<Inner>,
    /// The statement at which the database may have ended the transaction by itself.
    broken_at: Option<&'static str>,
}

pub(crate) enum TxOf {
    Sqlite(Transaction<'static, Sqlite>),
    MariaDb(Transaction<'static, MySql>),
}

/// Builds the driver's query; the back end follows from what runs it.
macro_rules! query {
    ($statement:expr, $values:expr) => {{
        let mut query = sqlx::query($statement.sql);
        for value in $values {
            query = match value {
                Value::Int(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Blob(value) => query.bind(value),
                Value::Null => query.bind(None::<String>),
            };
        }
        query
    }};
}

impl Tx {
    pub(crate) fn new(inner: TxOf, shared: Arc<Inner>) -> Self {
        Self { inner, shared, broken_at: None }
    }

    /// Makes all of it durable.
    ///
    /// Errors: `CommitUnknown` when the connection broke meanwhile: it may have happened.
    pub async fn commit(self) -> Result<()> {
        if let Some(statement) = self.broken_at {
            return Err(Error::Broken { statement });
        }
        let outcome = match self.inner {
            TxOf::Sqlite(tx) => tx.commit().await,
            TxOf::MariaDb(tx) => tx.commit().await,
        };
        outcome.map_err(|source| match Cause::of(&source) {
            Cause::Gone => Error::CommitUnknown { source },
            _ => Error::from_sqlx("commit", source),
        })
    }

    /// Takes all of it back. Dropping does the same, a little later.
    pub async fn rollback(self) {
        let outcome = match self.inner {
            TxOf::Sqlite(tx) => tx.rollback().await,
            TxOf::MariaDb(tx) => tx.rollback().await,
        };
        if let Err(error) = outcome {
            // A connection that cannot roll back is gone, and the database has rolled back with it.
            tracing::debug!(error = %error, "rollback was not confirmed");
        }
    }

    /// Marks the place to which [`Self::rollback_to_savepoint`] goes back: one event of several in a transaction.
    pub async fn savepoint(&mut self) -> Result<()> {
        self.execute(&SAVEPOINT, Vec::new()).await.map(drop)
    }

    /// Takes back what was done since [`Self::savepoint`]. Not possible after a `Conflict`: that ends the transaction.
    pub async fn rollback_to_savepoint(&mut self) -> Result<()> {
        self.execute(&ROLLBACK_TO_SAVEPOINT, Vec::new()).await.map(drop)
    }

    /// Forgets the savepoint and keeps what was done since.
    pub async fn release_savepoint(&mut self) -> Result<()> {
        self.execute(&RELEASE_SAVEPOINT, Vec::new()).await.map(drop)
    }

    /// The time as the catalog's clock says it; what `updated_at` columns get.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Runs a statement that changes rows; gives how many matched.
    pub(crate) async fn execute(&mut self, statement: &Statement, values: Vec<Value>) -> Result<u64> {
        self.require_whole()?;
        let outcome = match &mut self.inner {
            TxOf::Sqlite(tx) => {
                query!(statement, values).execute(&mut **tx).await.map(|done| done.rows_affected())
            }
            TxOf::MariaDb(tx) => {
                query!(statement, values).execute(&mut **tx).await.map(|done| done.rows_affected())
            }
        };
        self.note(statement, outcome)
    }

    /// Runs a compare-and-swap: whether the one row was as expected and is now changed.
    pub(crate) async fn swap(&mut self, statement: &Statement, values: Vec<Value>) -> Result<bool> {
        let count = self.execute(statement, values).await?;
        assert!(count <= 1, "{} is keyed by a primary key and changed {count} rows", statement.name);
        Ok(count == 1)
    }

    pub(crate) async fn fetch_all(&mut self, statement: &Statement, values: Vec<Value>) -> Result<Vec<Row>> {
        self.require_whole()?;
        let row = |inner| Row { statement: statement.name, inner };
        let outcome = match &mut self.inner {
            TxOf::Sqlite(tx) => query!(statement, values)
                .fetch_all(&mut **tx)
                .await
                .map(|rows| rows.into_iter().map(|inner| row(RowOf::Sqlite(inner))).collect()),
            TxOf::MariaDb(tx) => query!(statement, values)
                .fetch_all(&mut **tx)
                .await
                .map(|rows| rows.into_iter().map(|inner| row(RowOf::MariaDb(inner))).collect()),
        };
        self.note(statement, outcome)
    }

    pub(crate) async fn fetch_optional(
        &mut self,
        statement: &Statement,
        values: Vec<Value>,
    ) -> Result<Option<Row>> {
        Ok(self.fetch_all(statement, values).await?.into_iter().next())
    }

    fn require_whole(&self) -> Result<()> {
        self.broken_at.map_or(Ok(()), |statement| Err(Error::Broken { statement }))
    }

    /// After a deadlock or a full disk the database has rolled back by itself, and what followed would be committed
    /// statement by statement: so nothing may follow.
    fn note<T>(&mut self, statement: &Statement, outcome: sqlx::Result<T>) -> Result<T> {
        self.shared.note_executed(statement.name);
        outcome.map_err(|source| {
            let error = Error::from_sqlx(statement.name, source);
            if !matches!(error, Error::Duplicate { .. } | Error::Value { .. }) {
                self.broken_at = Some(statement.name);
            }
            error
        })
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("broken_at", &self.broken_at).finish_non_exhaustive()
    }
}
