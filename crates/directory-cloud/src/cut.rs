//! Cuts of local disks, in place of a hypervisor: of an instance that runs, copies of its files; of one that does not, the
//! files themselves. A cut is lost when its instance stops, as a hypervisor's is; the files are, when it starts.

use std::path::Path;

use cloud::{CutRequest, Moment, SourceQuery};
use model::{DiskId, Failure, InstanceId, SnapshotId};

use crate::effect;
use crate::error;
use crate::image;
use crate::record::{self, CutRecord, DiskRecord};
use crate::store::{self, CUT_RECORD, CUTS, Instance, Store, Volume};

/// Copies the disks, unless that was done before.
pub(crate) fn cut(store: &Store, instance: &Instance, request: &CutRequest) -> Result<Moment, Failure> {
    let disks = request.disks.iter().map(|disk| local_disk(instance, disk)).collect::<Result<Vec<_>, _>>()?;
    if !instance.record.running {
        return Ok(Moment::AsIs);
    }
    let name = name(instance.record.id, request.snapshot_id);
    if store.cut_record(&name)?.is_some() {
        return Ok(Moment::Cut);
    }
    let folder = store.root().begin(CUTS)?;
    for disk in disks {
        let source = store.open_image(&store.disk(instance, disk)?.image)?;
        let copied = folder.create(&file(disk)).and_then(|image| image::copy(&source, &image));
        copied.map_err(|source| error::io(format_args!("cut disk {}", disk.device), &source))?;
    }
    let record = CutRecord {
        instance_id: instance.record.id,
        snapshot_id: request.snapshot_id,
        host: instance.record.host.clone(),
    };
    folder.write_text(CUT_RECORD, &record::write(&record)?)?;
    let lock = store.root().lock()?;
    if store.cut_record(&name)?.is_none() {
        folder.publish(&name, &lock)?;
        effect::record(store, "cut", instance.record.id, None)?;
    }
    Ok(Moment::Cut)
}

/// Removes the copies. This cloud keeps no record of changes, so there is nothing else to keep or to remove.
pub(crate) fn end(store: &Store, record: &CutRecord) -> Result<(), Failure> {
    let lock = store.root().lock()?;
    let name = name(record.instance_id, record.snapshot_id);
    if store.cut_record(&name)?.as_ref() == Some(record) {
        store.root().remove(CUTS, &name, &lock)?;
        effect::record(store, "end_cut", record.instance_id, None)?;
    }
    Ok(())
}

/// The image of a local disk at the moment that is asked for, which still stands.
pub(crate) fn local_image(
    store: &Store,
    instance: &Instance,
    query: &SourceQuery,
) -> Result<Volume, Failure> {
    let disk = local_disk(instance, &query.disk_id)?;
    let lost = |what: &str| Err(error::point_in_time_lost(&disk.device, &instance.record.name, what));
    let live = store.disk(instance, disk)?;
    match query.moment {
        Moment::AsIs if instance.record.running => lost("the instance was started"),
        Moment::AsIs => Ok(live),
        Moment::Cut if !instance.record.running => lost("the instance was stopped"),
        Moment::Cut => {
            let name = name(instance.record.id, query.snapshot_id);
            if store.cut_record(&name)?.is_none() {
                return lost("its cut was ended");
            }
            Ok(Volume { image: Path::new(CUTS).join(name).join(file(disk)), ..live })
        }
        Moment::VolumeSnapshot(_) => Err(error::no_such_disk(format_args!(
            "disk {} of instance {} is local and has no volume snapshots",
            disk.device, instance.record.name
        ))),
    }
}

fn local_disk<'a>(instance: &'a Instance, id: &DiskId) -> Result<&'a DiskRecord, Failure> {
    let mut local = instance.record.disk.iter().filter(|disk| disk.volume_id.is_none());
    local.find(|disk| store::disk_id(disk).as_ref() == Ok(id)).ok_or_else(|| {
        error::no_such_disk(format_args!("instance {} has no local disk {id}", instance.record.id))
    })
}

fn name(instance: InstanceId, snapshot: SnapshotId) -> String {
    format!("{snapshot}.{instance}")
}

/// Its letters were checked when the device became the disk's id.
fn file(disk: &DiskRecord) -> String {
    format!("{}.img", disk.device)
}
