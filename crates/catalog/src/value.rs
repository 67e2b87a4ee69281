//! Values on their way into statements, and rows on their way out. Four kinds only: what both back ends keep alike.

use std::str::FromStr;
use std::time::Duration;

use model::{ByteCount, Timestamp};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::{Error, Result};

/// A bound parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
    Null,
}

/// Makes the parameters of a statement, in the order of its question marks.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::value::Value::from($value)),*] };
}
pub(crate) use values;

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for Value {
    /// Saturates: both back ends keep signed integers only, and no disk has 8 EiB.
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Int(value.0)
    }
}

impl From<ByteCount> for Value {
    fn from(value: ByteCount) -> Self {
        Self::from(value.0)
    }
}

impl From<Duration> for Value {
    /// Milliseconds.
    fn from(value: Duration) -> Self {
        Self::Int(i64::try_from(value.as_millis()).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_owned())
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Text(value.hyphenated().to_string())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! text_values {
    (ids: $($id:ty),*; words: $($word:ty),*; names: $($name:ty),* $(,)?) => {
        $(impl From<$id> for Value {
            fn from(value: $id) -> Self { Self::Text(value.to_string()) }
        })*
        $(impl From<$word> for Value {
            fn from(value: $word) -> Self { Self::Text(value.as_str().to_owned()) }
        })*
        $(impl From<&$name> for Value {
            fn from(value: &$name) -> Self { Self::Text(value.as_str().to_owned()) }
        })*
    };
}

text_values! {
    ids: model::WorkloadId, model::InstanceId, model::SnapshotId, model::RestoreId, model::SagaId, model::JobId,
        model::LineageId, model::TargetId, model::VolumeId, model::VolumeSnapshotId, model::MessageId;
    words: model::WorkloadState, model::SnapshotState, model::SnapshotKind, model::RestoreState, model::Consistency,
        model::DiskFormat, crate::words::PartStatus, crate::words::RestoreKind, crate::words::JobDirection,
        crate::words::JobState, crate::words::ServiceKind, crate::words::TimerKind, crate::words::TrustState,
        model::KeepBase, model::WorkloadType, model::CloudChange, crate::words::SubjectKind;
    names: model::ProjectId, model::UserId, model::HostName, model::DiskId,
}

/// One row of either back end, with the name of the statement that gave it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) statement: &'static str,
    pub(crate) inner: RowOf,
}

/// A row as the driver gave it.
pub(crate) enum RowOf {
    Sqlite(SqliteRow),
    MariaDb(MySqlRow),
}

impl std::fmt::Debug for RowOf {
    // Rows may hold users' data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite(..)",
            Self::MariaDb(_) => "MariaDb(..)",
        })
    }
}

macro_rules! get {
    ($row:expr, $column:expr, $kind:ty) => {
        match &$row.inner {
            RowOf::Sqlite(row) => row.try_get::<Option<$kind>, _>($column),
            RowOf::MariaDb(row) => row.try_get::<Option<$kind>, _>($column),
        }
        .map_err(|error| $row.refuse($column, error))
    };
}

impl Row {
    pub(crate) fn int(&self, column: &'static str) -> Result<i64> {
        self.int_opt(column)?.ok_or_else(|| self.refuse(column, "it is null"))
    }

    pub(crate) fn int_opt(&self, column: &'static str) -> Result<Option<i64>> {
        get!(self, column, i64)
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String> {
        self.text_opt(column)?.ok_or_else(|| self.refuse(column, "it is null"))
    }

    pub(crate) fn text_opt(&self, column: &'static str) -> Result<Option<String>> {
        get!(self, column, String)
    }

    pub(crate) fn blob(&self, column: &'static str) -> Result<Vec<u8>> {
        get!(self, column, Vec<u8>)?.ok_or_else(|| self.refuse(column, "it is null"))
    }

    /// An id, a name or a word of a state machine.
    pub(crate) fn parse<T: FromStr<Err: std::fmt::Display>>(&self, column: &'static str) -> Result<T> {
        self.text(column)?.parse().map_err(|error| self.refuse(column, error))
    }

    pub(crate) fn parse_opt<T: FromStr<Err: std::fmt::Display>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>> {
        self.text_opt(column)?
            .map(|text| text.parse().map_err(|error| self.refuse(column, error)))
            .transpose()
    }

    /// An integer of a narrower type.
    pub(crate) fn number<T: TryFrom<i64, Error: std::fmt::Display>>(
        &self,
        column: &'static str,
    ) -> Result<T> {
        T::try_from(self.int(column)?).map_err(|error| self.refuse(column, error))
    }

    pub(crate) fn bytes(&self, column: &'static str) -> Result<ByteCount> {
        self.number(column).map(ByteCount)
    }

    pub(crate) fn millis(&self, column: &'static str) -> Result<Duration> {
        self.number(column).map(Duration::from_millis)
    }

    pub(crate) fn flag(&self, column: &'static str) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp> {
        self.int(column).map(Timestamp)
    }

    pub(crate) fn time_opt(&self, column: &'static str) -> Result<Option<Timestamp>> {
        Ok(self.int_opt(column)?.map(Timestamp))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|error| self.refuse(column, error))
    }

    fn refuse(&self, column: &'static str, reason: impl std::fmt::Display) -> Error {
        Error::Decode { statement: self.statement, column, reason: reason.to_string() }
    }
}
