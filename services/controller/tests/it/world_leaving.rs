//! The catalog of `World`, as the sagas that take away ask it.

use controller::sagas::catalog_op::{CatalogAnswer, CatalogOp};
use controller::sagas::clearing::{ClearingBegun, TaggedBase};
use controller::sagas::leftover_sweep::hosts::{HostKind, HostLeftover, HostThing};
use controller::sagas::leftover_sweep::{Kind, Leftover, Tagged};
use model::{InstanceId, Owner, SnapshotId};

use crate::world::{World, make_uuid};

impl World {
    /// What the catalog answers.
    pub(super) fn record_leaving(&mut self, op: &CatalogOp) -> CatalogAnswer {
        match op {
            CatalogOp::ForgetOrphanedBases { .. } => CatalogAnswer::BasesOrphaned(Vec::new()),
            CatalogOp::BeginClearing(_) => {
                self.create("begun".to_owned());
                let base = |number| TaggedBase {
                    subject: "a volume".to_owned(),
                    tag: format!("saga/step/{number}"),
                };
                CatalogAnswer::ClearingBegun(ClearingBegun {
                    user_id: "alice".parse().unwrap(),
                    instance_ids: vec![InstanceId::from_uuid(make_uuid(10))],
                    bases: vec![base(0), base(1)],
                })
            }
            CatalogOp::EndClearing(_) | CatalogOp::RecordReset(_) | CatalogOp::RecordDelete(_) => {
                self.forget("begun")
            }
            CatalogOp::LeaseBases(params) => {
                self.create("leases".to_owned());
                CatalogAnswer::BasesLeased((0..params.bases.len()).collect())
            }
            // One of each kind, whatever was found.
            CatalogOp::JudgeLeftovers { .. } => {
                let kinds = [Kind::Instance, Kind::Volume, Kind::VolumeSnapshot].into_iter();
                CatalogAnswer::LeftoversJudged(kinds.zip(0..).map(leftover).collect())
            }
            CatalogOp::JudgeHostLeftovers { .. } => {
                let kinds = [HostKind::Cut, HostKind::FrozenGuest, HostKind::Bitmap, HostKind::Scratch];
                CatalogAnswer::HostLeftoversJudged(kinds.map(host_leftover).to_vec())
            }
            CatalogOp::TellRemoved(_) => CatalogAnswer::Done,
            CatalogOp::ReleaseBaseLeases(_) | CatalogOp::RecordBaseRelease { .. } => self.forget("leases"),
            other => panic!("nobody asks for {other:?} here"),
        }
    }
}

fn host_leftover(kind: HostKind) -> HostLeftover {
    let thing = HostThing {
        kind,
        instance_id: Some(InstanceId::from_uuid(make_uuid(10))),
        snapshot_id: Some(SnapshotId::from_uuid(make_uuid(2))),
        job_id: None,
        saga_id: None,
        name: "left".to_owned(),
        owner: None,
        age_seconds: None,
        size_bytes: None,
        base_of: None,
    };
    let host = "node-1".parse().unwrap();
    let why = "its saga ended".to_owned();
    HostLeftover { host, thing, owner: None, age_seconds: Some(1), why, may_be_removed: true }
}

fn leftover((kind, number): (Kind, u32)) -> Leftover {
    let (id, name) = (number.to_string(), "left".to_owned());
    Leftover {
        owner: Owner { project_id: "acme".parse().unwrap(), user_id: "alice".parse().unwrap() },
        thing: Tagged { kind, id, name, tag: format!("saga/step/{number}") },
        age_seconds: Some(1),
        why: "its saga ended".to_owned(),
        may_be_removed: true,
    }
}
