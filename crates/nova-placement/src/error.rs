//! What can go wrong between us and the databases, sorted by what a retry may hope for.

use model::{ErrorClass, Failure, InstanceId, TargetId, VolumeId};

/// Numbers by which MariaDB and MySQL say that user, password or a right is wrong: no right on the database, wrong
/// password, no such database, no right on the table, on the column.
const REFUSALS: [u16; 5] = [1044, 1045, 1049, 1142, 1143];
/// No such column, no such table.
const UNKNOWN_SCHEMA: [u16; 2] = [1054, 1146];

/// A failed look-up. `database` says which one and where, never with a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{database} does not answer: {reason}")]
    Down { database: String, reason: String },
    #[error(
        "{database} refuses us: {reason}; check user and password file, and run what `holdfast-dmapi --print-grants` prints"
    )]
    Refused { database: String, reason: String },
    #[error("{database} is not as we know it: {reason}; is it another release of OpenStack?")]
    Unreadable { database: String, reason: String },
    #[error("cell {cell} of Nova cannot be reached: {reason}; name it in a [[cloud.database.cell]]")]
    CellUrl { cell: String, reason: String },
    #[error("cell {cell} of Nova is in no [[cloud.database.cell]]: add it")]
    CellNotListed { cell: String },
    #[error("the compute API cannot reach the cell of instance {id}: is its database down?")]
    CellOfInstanceDown { id: InstanceId },
    #[error(
        "the API does not show {name} to the service identity of [cloud.api]: give it a role that the policy of that field names, mostly admin"
    )]
    FieldHidden { name: &'static str },
    #[error("the API answered with no object")]
    ApiUnreadable,
    #[error("Nova calls the host of instance {id} {host:?}, which Holdfast cannot take for a name")]
    HostName { id: InstanceId, host: String },
    #[error("Cinder knows no volume {id}: was it deleted?")]
    VolumeNotFound { id: VolumeId },
    #[error("no backend of Cinder has volume {id} yet")]
    VolumeNotPlaced { id: VolumeId },
    #[error(
        "volume {id} lies on {backend}, which no [[cloud.backend]] names: add one with the pool that reaches it"
    )]
    NoPool { id: VolumeId, backend: String },
    #[error("no pool reaches backup target {id}: set `default_pool` in [cloud], or add a [[cloud.target]]")]
    NoPoolForTarget { id: TargetId },
    #[error(
        "dmapi is configured with no source that knows volumes: set `cinder` in [cloud.database], or [cloud.api]"
    )]
    NoVolumeSource,
}

impl Error {
    /// Sorts what sqlx says of `database`.
    pub(crate) fn from_sqlx(database: &str, error: &sqlx::Error) -> Self {
        let database = database.to_owned();
        let number = match error {
            sqlx::Error::Database(error) => {
                error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(|error| error.number())
            }
            _ => None,
        };
        let reason = error.to_string();
        match (number, error) {
            (Some(number), _) if REFUSALS.contains(&number) => Self::Refused { database, reason },
            (Some(number), _) if UNKNOWN_SCHEMA.contains(&number) => Self::Unreadable { database, reason },
            (
                _,
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_),
            ) => Self::Unreadable { database, reason },
            _ => Self::Down { database, reason },
        }
    }

    /// Its stable code.
    fn code(&self) -> &'static str {
        match self {
            Self::Down { .. } | Self::CellOfInstanceDown { .. } => "CLOUD_DATABASE_DOWN",
            Self::Refused { .. } => "CLOUD_DATABASE_REFUSED",
            Self::Unreadable { .. } => "CLOUD_DATABASE_UNREADABLE",
            Self::CellUrl { .. } => "CELL_URL_UNUSABLE",
            Self::CellNotListed { .. } => "CELL_NOT_LISTED",
            Self::FieldHidden { .. } => "API_FIELD_HIDDEN",
            Self::ApiUnreadable => "API_ANSWER_UNREADABLE",
            Self::HostName { .. } => "HOST_NAME_UNUSABLE",
            Self::VolumeNotFound { .. } => "VOLUME_NOT_FOUND",
            Self::VolumeNotPlaced { .. } => "VOLUME_NOT_PLACED",
            Self::NoPool { .. } => "NO_POOL_FOR_BACKEND",
            Self::NoPoolForTarget { .. } => "NO_POOL_FOR_TARGET",
            Self::NoVolumeSource => "NO_VOLUME_SOURCE",
        }
    }

    const fn class(&self) -> ErrorClass {
        match self {
            Self::Down { .. } | Self::CellOfInstanceDown { .. } | Self::VolumeNotPlaced { .. } => {
                ErrorClass::Transient
            }
            _ => ErrorClass::Permanent,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.class(), error.code(), error.to_string())
    }
}
