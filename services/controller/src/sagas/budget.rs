//! How often and how long a step tries. How long it pauses in between is set by the controller's `[timing]`.

use std::time::Duration;

/// Calls to the cloud's API: a cloud that fails eight times in a row over minutes is down, and a user is waiting.
pub(super) const CLOUD_CALL_ATTEMPTS: u32 = 8;

/// A lineage that another saga holds: its job may take hours, and the workload's lock makes this rare.
pub(super) const LEASE_ATTEMPTS: u32 = 8;

/// Records on a target: one that is away for minutes is worth waiting for.
pub(super) const TARGET_ATTEMPTS: u32 = 20;

/// Short calls to datamovers: with pauses of half a minute on average at the cap, a datamover that is away for a quarter
/// of an hour is survived.
pub(super) const MOVER_CALL_ATTEMPTS: u32 = 30;

/// Removals behind the pivot, before what is there is left to the sweep of leftovers: some eight minutes where a host is dead
/// and that is told at once, less than an hour where one hangs. A workload that is locked for longer misses its next snapshot.
pub(super) const REMOVAL_ATTEMPTS: u32 = 20;

/// Transfers of hours, for which a lost lease costs little: the next attempt resumes from the worker's journal.
pub(super) const TRANSFER_ATTEMPTS: u32 = 30;

/// From dispatch to answer, for calls to the cloud: volumes take minutes on slow storage.
pub(super) const CLOUD_CALL_DEADLINE: Duration = Duration::from_secs(600);

/// From dispatch to answer, for short calls to datamovers.
pub(super) const MOVER_CALL_DEADLINE: Duration = Duration::from_secs(120);

/// From dispatch to answer, for calls to datamovers that read or remove much on the target.
pub(super) const MOVER_LONG_DEADLINE: Duration = Duration::from_secs(3600);

/// A whole snapshot or restore: 20 TiB at the 100 MiB/s of a shared 1 Gbit/s link take 58 hours.
pub(super) const JOB_DEADLINE: Duration = Duration::from_secs(72 * 3600);

/// From dispatch to acceptance, for jobs under a lease; after that the lease watches.
pub(super) const DISPATCH_DEADLINE: Duration = Duration::from_secs(60);
