//! Watches a cut while it stands: no guest may stop because the room for its old blocks is full.
//!
//! A watch ends with the record of its cut and with nothing else: neither with a libvirt that is away, nor with an end that
//! failed, nor with a domain that is away for a moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{ByteCount, InstanceId, SnapshotId};

use crate::Error;
use crate::cuts::Cuts;
use crate::record::{Cut, CutKind};

/// How often the room is looked at: a guest that writes 1 GB/s needs 10 s for the gibibyte that is left at the mark.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// How often the guest and the record are looked at, in looks at the room.
const CLOSE_TURNS: u32 = 10;
/// Between two attempts to end a cut.
const END_PAUSE: Duration = Duration::from_secs(1);
/// libvirt's word for a guest that waits because its disk could not be written.
const PAUSED: &str = "paused (I/O error)";

/// The watches that run, and how often each was asked for.
pub(crate) type Watches = Arc<Mutex<BTreeMap<(InstanceId, SnapshotId), u64>>>;

/// One watch.
#[derive(Debug, Clone)]
struct Watch {
    cuts: Cuts,
    instance: InstanceId,
    snapshot: SnapshotId,
    size: ByteCount,
}

/// What is recorded of the cut.
#[derive(Debug, PartialEq, Eq)]
enum Recorded {
    Nothing,
    Runs,
    /// It was to end, for this reason.
    Ended(String),
}

/// Sees to it that a cut whose record is written is watched. A watch that panics is begun anew: a guest depends on it.
pub(crate) fn ensure(cuts: &Cuts, instance: InstanceId, snapshot: SnapshotId, size: ByteCount) {
    let watch = Watch { cuts: cuts.clone(), instance, snapshot, size };
    {
        let mut watches = watch.watches();
        let asked = watches.entry((instance, snapshot)).or_default();
        *asked += 1;
        if *asked > 1 {
            return;
        }
    }
    tokio::spawn(async move {
        while let Err(error) = tokio::spawn(watch.clone().run()).await {
            tracing::error!(instance_id = %instance, %error, "the watch of a cut panicked and begins anew");
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    });
}

impl Watch {
    async fn run(self) {
        let (mut turn, mut seen, mut is_ended) = (0_u32, 0, false);
        loop {
            let is_close = turn.is_multiple_of(CLOSE_TURNS);
            turn = turn.wrapping_add(1);
            let asked = self.asked();
            if asked != seen {
                // Perhaps for another cut: of the second round of the same snapshot.
                (seen, is_ended) = (asked, false);
            }
            let recorded = if is_close { self.recorded() } else { Recorded::Runs };
            if recorded == Recorded::Nothing && self.leave(asked) {
                return;
            }
            let mut pause = ROOM_PAUSE;
            if !is_ended && let Some(reason) = self.reason_to_end(recorded, is_close).await {
                is_ended = self.end(&reason).await;
                pause = END_PAUSE;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn reason_to_end(&self, recorded: Recorded, is_close: bool) -> Option<String> {
        match self.cuts.scratch.room(self.size) {
            Ok(room) if room.must_end() => {
                return Some(format!(
                    "the scratch folder {} has only {} left, so Holdfast ended it before the guest had to wait",
                    self.cuts.scratch.dir.display(),
                    room.free
                ));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the room for a cut is not known"),
        }
        if let Recorded::Ended(reason) = recorded {
            return Some(reason);
        }
        if !is_close {
            return None;
        }
        match self.cuts.virsh.state(self.instance).await {
            Ok(state) if state == PAUSED => Some(format!(
                "the guest could not write to its disk and was paused; Holdfast ended it and let the guest go on ({state})"
            )),
            Ok(_) | Err(Error::ForeignInstance { .. }) => None,
            Err(error) => {
                tracing::warn!(instance_id = %self.instance, %error, "the state of a guest that is being cut is not known");
                None
            }
        }
    }

    fn recorded(&self) -> Recorded {
        match self.cuts.records.load(self.instance).map(|record| record.cut) {
            Ok(Some(Cut { snapshot_id, kind: CutKind::Job { ended, .. } }))
                if snapshot_id == self.snapshot =>
            {
                ended.map_or(Recorded::Runs, Recorded::Ended)
            }
            Ok(_) => Recorded::Nothing,
            Err(error) => {
                tracing::warn!(instance_id = %self.instance, %error, "a cut's record is not known");
                Recorded::Runs
            }
        }
    }

    /// Ends the job at once, whoever's turn it is. Gives whether nothing of it is left to end.
    async fn end(&self, reason: &str) -> bool {
        let (cuts, instance, snapshot) = (&self.cuts, self.instance, self.snapshot);
        match cuts.stands(instance, snapshot).await {
            Ok(true) => {
                tracing::warn!(instance_id = %instance, snapshot_id = %snapshot, reason, "a cut is ended early")
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(instance_id = %instance, snapshot_id = %snapshot, %error, "whether a cut that must end stands is not known, it is looked at again");
                return false;
            }
        }
        cuts.note_ending(snapshot, reason);
        let aborted = cuts.abort(instance, snapshot).await;
        if let Err(error) = &aborted {
            tracing::error!(instance_id = %instance, snapshot_id = %snapshot, %error, "a cut that must end could not be ended, it is tried again");
        }
        let goes_on = self.let_go_on().await;
        let noted = self.note(reason).await;
        if let Err(error) = &noted {
            tracing::warn!(instance_id = %instance, %error, "why a cut was ended could not be written down");
        }
        aborted.is_ok() && goes_on && noted.is_ok()
    }

    /// Lets a paused guest run; gives whether it is not paused.
    async fn let_go_on(&self) -> bool {
        let instance = self.instance;
        match self.cuts.virsh.state(instance).await {
            Ok(state) if state == PAUSED => match self.cuts.virsh.resume(instance).await {
                Ok(()) => {
                    tracing::error!(instance_id = %instance, "a guest was paused because its disk could not be written, and goes on");
                    true
                }
                Err(error) => {
                    tracing::error!(instance_id = %instance, %error, "a guest is paused because its disk could not be written, and does not go on");
                    false
                }
            },
            Ok(_) | Err(Error::ForeignInstance { .. }) => true,
            Err(error) => {
                tracing::warn!(instance_id = %instance, %error, "the state of a guest is not known");
                false
            }
        }
    }

    async fn note(&self, reason: &str) -> Result<(), Error> {
        let mut turn = self.cuts.hold(self.instance).await?;
        if let Some(Cut { snapshot_id, kind: CutKind::Job { ended, .. } }) = &mut turn.record.cut
            && *snapshot_id == self.snapshot
        {
            *ended = Some(reason.to_owned());
            self.cuts.records.save(self.instance, &turn.record)?;
        }
        Ok(())
    }

    fn asked(&self) -> u64 {
        self.watches().get(&(self.instance, self.snapshot)).copied().unwrap_or_default()
    }

    /// Gives whether nobody asked meanwhile: then this watch is over.
    fn leave(&self, asked: u64) -> bool {
        let (mut watches, key) = (self.watches(), (self.instance, self.snapshot));
        if watches.get(&key) != Some(&asked) {
            return false;
        }
        watches.remove(&key);
        true
    }

    fn watches(&self) -> MutexGuard<'_, BTreeMap<(InstanceId, SnapshotId), u64>> {
        self.cuts.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
