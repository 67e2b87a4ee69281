//! What steps read out of answers. An answer of another kind than the command asks for gives nothing here; the engine
//! refuses it before it is learned (`fits`).

use cloud::{InstanceDescription, Moment};
use model::{ByteCount, Timestamp};
use proto::common::v1::LocalMoment;
use proto::rep::v1::job_succeeded::Result as Wire;

use super::catalog_op::{
    CatalogAnswer, Checked, LineagesAcquired, SnapshotBegun, SnapshotPinned, Transferred, Written,
};
use super::clearing::{ClearingBegun, TaggedBase};
use super::leftover_sweep::hosts::{HostLeftover, HostThing};
use super::leftover_sweep::{Kind, Leftover, Tagged};
use super::remote::Command;
use super::snapshot_create::HostConnector;
use super::{Output, records};

/// The answer of a worker.
pub type Answer = Wire;

/// Whether `answer` is one that `command` may get, with all in it that the saga will need.
#[must_use]
pub fn fits(command: &Command, answer: &Answer) -> bool {
    use Command as C;
    let output = Output::Remote(answer.clone());
    match command {
        C::DescribeInstance(_) => instance(&output).is_some(),
        C::CreateVolumeSnapshot(_) => created::<model::VolumeSnapshotId>(&output).is_some(),
        C::CreateVolume(_) => created::<model::VolumeId>(&output).is_some(),
        C::CreateInstance(_) => created::<model::InstanceId>(&output).is_some(),
        C::FreezeGuest(_) => matches!(answer, Wire::GuestFrozen(_)),
        C::ThawGuest(_) => matches!(answer, Wire::GuestThawed(_)),
        C::CutDisks(_) => disks_cut(&output).is_some(),
        C::TransferDisk(_) => matches!(answer, Wire::DiskTransferred(it) if is_digest(&it.manifest_digest)),
        C::VerifyManifest(_) => {
            matches!(answer, Wire::ManifestVerified(it) if is_digest(&it.manifest_digest))
        }
        C::WriteDisk(_) => matches!(answer, Wire::DiskWritten(_)),
        C::DescribeConnector(_) => connector(&output).is_some(),
        C::AttachVolume(_) => attached(&output).is_some_and(|sealed| !sealed.is_empty()),
        C::ListTagged(_) => matches!(answer, Wire::TaggedListed(_)),
        C::ListLeftovers(_) => matches!(answer, Wire::LeftoversListed(_)),
        C::DeleteVolumeSnapshots(_)
        | C::DeleteVolume(_)
        | C::DetachVolumes(_)
        | C::DeleteInstance(_)
        | C::CheckRestorePlan(_)
        | C::CheckQuotas(_)
        | C::WriteRecords(_)
        | C::RemoveRecords(_)
        | C::RevokeTrust(_)
        | C::DropChanges(_)
        | C::EndCut(_)
        | C::PurgeTransfer(_)
        | C::RemoveLeftover(_)
        | C::AbortWrite(_) => matches!(answer, Wire::Done(_)),
    }
}

fn is_digest(bytes: &[u8]) -> bool {
    records::digest(bytes).is_some()
}

pub(super) fn snapshot_begun(output: &Output) -> Option<SnapshotBegun> {
    match output {
        Output::Catalog(CatalogAnswer::SnapshotBegun(begun)) => Some(begun.clone()),
        _ => None,
    }
}

pub(super) fn lineages_acquired(output: &Output) -> Option<LineagesAcquired> {
    match output {
        Output::Catalog(CatalogAnswer::LineagesAcquired(acquired)) => Some(acquired.clone()),
        _ => None,
    }
}

pub(super) fn instance_checked(output: &Output) -> Option<Checked> {
    match output {
        Output::Catalog(CatalogAnswer::InstanceChecked(checked)) => Some(checked.clone()),
        _ => None,
    }
}

pub(super) fn snapshot_committed(output: &Output) -> Option<Timestamp> {
    match output {
        Output::Catalog(CatalogAnswer::SnapshotCommitted(at)) => Some(*at),
        _ => None,
    }
}

pub(super) fn snapshot_pinned(output: &Output) -> Option<SnapshotPinned> {
    match output {
        Output::Catalog(CatalogAnswer::SnapshotPinned(pinned)) => Some(pinned.clone()),
        _ => None,
    }
}

pub(super) fn bases_orphaned(output: &Output) -> Vec<TaggedBase> {
    match output {
        Output::Catalog(CatalogAnswer::BasesOrphaned(bases)) => bases.clone(),
        _ => Vec::new(),
    }
}

pub(super) fn clearing_begun(output: &Output) -> Option<ClearingBegun> {
    match output {
        Output::Catalog(CatalogAnswer::ClearingBegun(begun)) => Some(begun.clone()),
        _ => None,
    }
}

pub(super) fn bases_leased(output: &Output) -> Vec<usize> {
    match output {
        Output::Catalog(CatalogAnswer::BasesLeased(places)) => places.clone(),
        _ => Vec::new(),
    }
}

pub(super) fn leftovers_judged(output: &Output) -> Vec<Leftover> {
    match output {
        Output::Catalog(CatalogAnswer::LeftoversJudged(leftovers)) => leftovers.clone(),
        _ => Vec::new(),
    }
}

pub(super) fn host_leftovers_judged(output: &Output) -> Vec<HostLeftover> {
    match output {
        Output::Catalog(CatalogAnswer::HostLeftoversJudged(leftovers)) => leftovers.clone(),
        _ => Vec::new(),
    }
}

/// What makes no sense was made by a later version.
pub(super) fn host_things(output: &Output) -> (Vec<HostThing>, bool) {
    let Output::Remote(Wire::LeftoversListed(listed)) = output else { return Default::default() };
    (listed.leftovers.iter().filter_map(HostThing::read).collect(), listed.is_cut_short)
}

/// What is of no kind that we know was made by a later version.
pub(super) fn tagged(output: &Output) -> Vec<Tagged> {
    let Output::Remote(Wire::TaggedListed(listed)) = output else { return Vec::new() };
    let read = |wire: &proto::rep::v1::Tagged| {
        let kind = match wire.kind.as_str() {
            "instance" => Kind::Instance,
            "volume" => Kind::Volume,
            "volume_snapshot" => Kind::VolumeSnapshot,
            "port" => Kind::Port,
            _ => return None,
        };
        let (id, name, tag) = (wire.id.clone(), wire.name.clone(), wire.tag.clone());
        Some(Tagged { kind, id, name, tag })
    };
    listed.tagged.iter().filter_map(read).collect()
}

pub(super) fn instance(output: &Output) -> Option<InstanceDescription> {
    match output {
        Output::Remote(Wire::InstanceDescribed(described)) => {
            serde_json::from_slice(&described.description).ok()
        }
        _ => None,
    }
}

pub(super) fn created<Id: std::str::FromStr>(output: &Output) -> Option<Id> {
    match output {
        Output::Remote(Wire::Created(created)) => created.resource_id.parse().ok(),
        _ => None,
    }
}

pub(super) fn connector(output: &Output) -> Option<HostConnector> {
    let Output::Remote(Wire::ConnectorDescribed(described)) = output else { return None };
    Some(HostConnector {
        host: described.host.parse().ok()?,
        properties: String::from_utf8(described.properties.clone()).ok()?,
        public_key: described.public_key.clone(),
    })
}

pub(super) fn attached(output: &Output) -> Option<Vec<u8>> {
    match output {
        Output::Remote(Wire::VolumeAttached(attached)) => Some(attached.sealed.clone()),
        _ => None,
    }
}

pub(super) fn frozen_count(output: &Output) -> Option<u32> {
    match output {
        Output::Remote(Wire::GuestFrozen(frozen)) => Some(frozen.frozen_count),
        _ => None,
    }
}

pub(super) fn thawed_count(output: &Output) -> Option<u32> {
    match output {
        Output::Remote(Wire::GuestThawed(thawed)) => Some(thawed.thawed_count),
        _ => None,
    }
}

pub(super) fn disks_cut(output: &Output) -> Option<Moment> {
    let Output::Remote(Wire::DisksCut(cut)) = output else { return None };
    match cut.moment() {
        LocalMoment::Cut => Some(Moment::Cut),
        LocalMoment::AsIs => Some(Moment::AsIs),
        LocalMoment::Unspecified => None,
    }
}

pub(super) fn transferred(output: &Output) -> Option<Transferred> {
    match output {
        Output::Remote(Wire::DiskTransferred(transferred)) => Some(Transferred {
            size: ByteCount(transferred.size_bytes),
            bytes_read: ByteCount(transferred.bytes_read),
            bytes_stored: ByteCount(transferred.bytes_stored),
            chunk_count: transferred.chunk_count,
            chunks_stored_count: transferred.chunks_stored_count,
            duration_ms: transferred.duration_ms,
            manifest_digest: transferred.manifest_digest.clone(),
            keeps_changes: transferred.keeps_changes,
            changes_false: transferred.changes_false,
            full_read_reason: Some(transferred.full_read_reason.clone()).filter(|text| !text.is_empty()),
        }),
        _ => None,
    }
}

pub(super) fn verified_digest(output: &Output) -> Option<Vec<u8>> {
    match output {
        Output::Remote(Wire::ManifestVerified(verified)) => Some(verified.manifest_digest.clone()),
        _ => None,
    }
}

pub(super) fn written(output: &Output) -> Option<Written> {
    match output {
        Output::Remote(Wire::DiskWritten(written)) => Some(Written {
            size: ByteCount(written.size_bytes),
            bytes_written: ByteCount(written.bytes_written),
            bytes_fetched: ByteCount(written.bytes_fetched),
            bytes_read_back: ByteCount(written.bytes_read_back),
            duration_ms: written.duration_ms,
        }),
        _ => None,
    }
}
