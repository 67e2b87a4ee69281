//! Watches a cut while it stands: no guest may stop because the room for its old blocks is full.

use std::time::Duration;

use model::{ByteCount, InstanceId, SnapshotId};

use crate::cuts::Cuts;
use crate::record::{Cut, CutKind};

/// How often the room is looked at: a guest that writes 1 GB/s needs 10 s for the gibibyte that is left at the mark.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// How often the guest is looked at, in looks at the room.
const GUEST_TURNS: u32 = 10;
/// libvirt's word for a guest that waits because its disk could not be written.
const PAUSED: &str = "paused (I/O error)";

/// What a look found.
#[derive(Debug)]
enum Sight {
    Well,
    /// Nothing to watch any more.
    Over,
    /// The cut must end, and why.
    MustEnd(String),
}

/// Watches until the cut ends. A watch that panics is begun anew: a guest depends on it.
pub(crate) fn start(cuts: &Cuts, instance: InstanceId, snapshot: SnapshotId, size: ByteCount) {
    let cuts = cuts.clone();
    tokio::spawn(async move {
        while let Err(error) = tokio::spawn(watch(cuts.clone(), instance, snapshot, size)).await {
            tracing::error!(instance_id = %instance, %error, "the watch of a cut panicked and begins anew");
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    });
}

async fn watch(cuts: Cuts, instance: InstanceId, snapshot: SnapshotId, size: ByteCount) {
    let mut turn = 0;
    loop {
        match look(&cuts, instance, snapshot, size, turn % GUEST_TURNS == 0).await {
            Sight::Well => tokio::time::sleep(ROOM_PAUSE).await,
            Sight::Over => return,
            Sight::MustEnd(reason) => return end(&cuts, instance, snapshot, &reason).await,
        }
        turn = turn.wrapping_add(1);
    }
}

async fn look(
    cuts: &Cuts,
    instance: InstanceId,
    snapshot: SnapshotId,
    size: ByteCount,
    looks_at_guest: bool,
) -> Sight {
    match cuts.scratch.room(size) {
        Ok(room) if room.must_end() => {
            return Sight::MustEnd(format!(
                "the scratch folder {} has only {} left, so Holdfast ended it before the guest had to wait",
                cuts.scratch.dir.display(),
                room.free
            ));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the room for a cut is not known"),
    }
    if !looks_at_guest {
        return Sight::Well;
    }
    match cuts.records.load(instance).map(|record| record.cut) {
        Ok(Some(Cut { snapshot_id, kind: CutKind::Job { ended: None, .. } })) if snapshot_id == snapshot => {}
        Ok(_) => return Sight::Over,
        Err(error) => tracing::warn!(instance_id = %instance, %error, "a cut's record is not known"),
    }
    match cuts.virsh.state(instance).await {
        Ok(state) if state == PAUSED => Sight::MustEnd(format!(
            "the guest could not write to its disk and was paused; Holdfast ended it and let the guest go on ({state})"
        )),
        Ok(_) => Sight::Well,
        Err(crate::Error::ForeignInstance { .. }) => Sight::Over,
        Err(error) => {
            tracing::warn!(instance_id = %instance, %error, "the state of a guest that is being cut is not known");
            Sight::Well
        }
    }
}

/// Ends the job at once; what is recorded waits for its turn.
async fn end(cuts: &Cuts, instance: InstanceId, snapshot: SnapshotId, reason: &str) {
    tracing::warn!(instance_id = %instance, snapshot_id = %snapshot, reason, "a cut is ended early");
    cuts.note_ending(snapshot, reason);
    if let Err(error) = cuts.abort(instance, snapshot).await {
        tracing::error!(instance_id = %instance, snapshot_id = %snapshot, %error, "a cut that must end could not be ended");
    }
    match cuts.virsh.state(instance).await {
        Ok(state) if state == PAUSED => match cuts.virsh.resume(instance).await {
            Ok(()) => {
                tracing::error!(instance_id = %instance, "a guest was paused because its disk could not be written, and goes on");
            }
            Err(error) => {
                tracing::error!(instance_id = %instance, %error, "a guest is paused because its disk could not be written, and does not go on");
            }
        },
        Ok(_) => {}
        Err(error) => tracing::warn!(instance_id = %instance, %error, "the state of a guest is not known"),
    }
    let noted = async {
        let mut turn = cuts.turn(instance).await?;
        if let Some(Cut { snapshot_id, kind: CutKind::Job { ended, .. } }) = &mut turn.record.cut
            && *snapshot_id == snapshot
        {
            *ended = Some(reason.to_owned());
            cuts.records.save(instance, &turn.record)?;
        }
        Ok::<(), crate::Error>(())
    };
    if let Err(error) = noted.await {
        tracing::warn!(instance_id = %instance, %error, "why a cut was ended could not be written down");
    }
}
