//! The database of record: workloads, snapshots, restores, sagas, jobs, outbox, timers
