//! What each saga works for: what a user knows it by.

use model::{ProjectId, SagaId, WorkloadId};
use saga::Saga;
use uuid::Uuid;

use crate::sagas::base_release::BaseRelease;
use crate::sagas::clearing;
use crate::sagas::leftover_sweep::LeftoverSweep;
use crate::sagas::restore_new::RestoreNew;
use crate::sagas::snapshot_create::SnapshotCreate;
use crate::sagas::workload_delete::WorkloadDelete;
use crate::sagas::workload_reset::WorkloadReset;

/// The snapshot, restore or workload, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub(super) object_id: Uuid,
    pub(super) workload_id: WorkloadId,
    pub(super) project_id: ProjectId,
}

/// A saga that can be asked for.
pub trait Ordered: Saga {
    /// What the saga `id` works for, by its order.
    fn object(id: SagaId, order: &Self::Params) -> Object;
}

impl Object {
    fn new(object_id: Uuid, workload_id: WorkloadId, project_id: &ProjectId) -> Self {
        Self { object_id, workload_id, project_id: project_id.clone() }
    }

    fn of_clearing(order: &clearing::Params) -> Self {
        Self::new(order.workload_id.uuid(), order.workload_id, &order.project_id)
    }
}

impl Ordered for SnapshotCreate {
    fn object(_: SagaId, order: &Self::Params) -> Object {
        Object::new(order.snapshot_id.uuid(), order.workload_id, &order.project_id)
    }
}

impl Ordered for RestoreNew {
    fn object(_: SagaId, order: &Self::Params) -> Object {
        Object::new(order.restore_id.uuid(), order.workload_id, &order.project_id)
    }
}

impl Ordered for WorkloadReset {
    fn object(_: SagaId, order: &Self::Params) -> Object {
        Object::of_clearing(order)
    }
}

impl Ordered for WorkloadDelete {
    fn object(_: SagaId, order: &Self::Params) -> Object {
        Object::of_clearing(order)
    }
}

impl Ordered for BaseRelease {
    fn object(_: SagaId, order: &Self::Params) -> Object {
        Object::new(order.workload_id.uuid(), order.workload_id, &order.project_id)
    }
}

/// It is of no workload.
impl Ordered for LeftoverSweep {
    fn object(id: SagaId, order: &Self::Params) -> Object {
        Object::new(id.uuid(), WorkloadId::from_uuid(Uuid::nil()), &order.project_id)
    }
}
