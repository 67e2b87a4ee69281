//! The database of record: workloads, snapshots, restores, lineages, sagas, jobs, outbox, timers.
//!
//! A thin layer over sqlx: one SQL text for SQLite (embedded default, one controller) and MariaDB (several). Every
//! statement is a constant of a registry, and a test runs each of them on both. Rules of the portable subset: only
//! integers, texts, blobs and null; no upserts, no `RETURNING`, no `FOR UPDATE`; what two controllers may fight for is
//! changed by compare-and-swap, and the number of rows touched tells who won.
//!
//! All work happens through [`Tx`]: its methods are named `insert_…`, `get_…`, `list_…`, `update_…`, `delete_…`,
//! `claim_…`. Called by the controller only. It knows rows; what a saga or a job means is not its business.

mod error;
mod statement;
mod value;

mod database;
mod lock;
mod schema;
mod tx;

mod examination;
mod figures;
mod intake;
mod job;
mod ledger;
mod lineage;
mod lineage_base;
mod notification;
mod outbox;
mod project_sequence;
mod restore;
mod restore_parts;
mod saga;
mod service;
mod snapshot;
mod snapshot_parts;
mod timer;
mod trust;
mod volume_left;
mod words;
mod workload;
mod workload_reset;

pub use database::{Backend, Catalog, TxFuture};
pub use error::{Error, Result};
pub use examination::ExaminationAnswerRow;
pub use figures::{SagaCount, StuckSaga, WorkerLoad};
pub use intake::IntakeKeyRow;
pub use job::{JobFilter, JobGrant, JobProgress, JobRow};
pub use lineage::{LineageRow, NewLineage};
pub use lineage_base::{KeptBaseRow, LineageBaseRow};
pub use notification::NotificationRow;
pub use outbox::{OutboxDepth, OutboxRow};
pub use restore::{RestoreFilter, RestoreRow};
pub use restore_parts::{RestoreDiskRow, RestoreInstanceRow};
pub use saga::{SagaEventRow, SagaFilter, SagaRow};
pub use service::{ServiceRow, ServiceSign};
pub use snapshot::{SnapshotFilter, SnapshotRow};
pub use snapshot_parts::{DiskProgress, SnapshotDiskRow, SnapshotInstanceRow};
pub use statement::statement_names;
pub use timer::TimerRow;
pub use trust::{TrustFilter, TrustRow};
pub use tx::Tx;
pub use volume_left::VolumeLeftRow;
pub use words::{
    BranchKey, JobDirection, JobState, PartStatus, RestoreKind, ServiceKind, SubjectKind, TimerKind,
    TrustState,
};
pub use workload::{WorkloadFilter, WorkloadInstanceRow, WorkloadRow};
