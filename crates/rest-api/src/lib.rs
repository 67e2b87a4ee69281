//! Bodies, paths and errors of the REST API in T4O's shape, shared by the controller and the command line, and a typed
//! client. Knows nothing of the catalog or of sagas. What is ours alone (disks' states, sagas, targets) is named so.

mod client;
mod dead_letter;
mod doctor;
mod error;
mod leftover;
mod loose;
mod restore;
mod saga;
mod snapshot;
mod status;
mod target;
mod time;
mod token_source;
mod trust;
mod workload;

pub use client::{Client, Endpoint};
pub use dead_letter::{
    DeadLetter, DeadLetterBody, DeadLetterContent, DeadLetterList, DeadLetterOrder, DeadLetterOutcome,
    DeadLetterOutcomes, DeadLetterSummary,
};
pub use doctor::{DoctorCheck, DoctorReport};
pub use error::{Error, ErrorBody, ErrorDetail, Fault};
pub use leftover::{Leftover, LeftoverBody, Leftovers, NewSweep, NewSweepBody, Unseen, UnseenHost};
pub use loose::LooseBool;
pub use restore::{
    NewRestore, NewRestoreBody, OpenstackOptions, Restore, RestoreBody, RestoreDisk, RestoreInstance,
    RestoreInstanceOptions, RestoreKind, RestoreList, RestoreOptions, RestoreSummary,
};
pub use saga::{
    NewDecision, Saga, SagaBody, SagaDecision, SagaEvent, SagaGraph, SagaGraphBody, SagaJob, SagaList,
    SagaStarted, SagaStep, SagaSummary,
};
pub use snapshot::{
    NewSnapshot, NewSnapshotBody, Snapshot, SnapshotBody, SnapshotDisk, SnapshotInstance, SnapshotList,
    SnapshotSummary,
};
pub use status::{
    DeadLetterFigures, HostStatus, LifeState, OutboxFigures, PartState, QueueFigures, Reach, SagaCount,
    SagaFigures, ServiceStatus, Status, StatusBody, StuckSaga,
};
pub use target::{Health, Target, TargetList};
pub use time::ApiTime;
pub use token_source::TokenSource;
pub use trust::{NewTrust, NewTrustBody, Trust, TrustList, TrustMetadata, TrustValidity};
pub use workload::{
    CloudNotification, Link, NewWorkload, NewWorkloadBody, NewWorkloadInstance, StorageUsage, UsageByKind,
    VolumeLeft, Workload, WorkloadBody, WorkloadChange, WorkloadChangeBody, WorkloadInstance, WorkloadList,
    WorkloadSummary, workload_type_id,
};

/// The header that carries the token.
pub const TOKEN_HEADER: &str = "X-Auth-Token";
/// The header that names a request in replies and logs: `req-<uuid>`.
pub const REQUEST_ID_HEADER: &str = "X-Compute-Request-Id";
