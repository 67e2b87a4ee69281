//! What a session keeps of its parent without reading it, as a record of changes has it; and what becomes of that when the
//! record proves false: an audit that reads some of it all the same may find out, now or in a later attempt.

use std::ops::Range;

use bytes::Bytes;

use crate::Error;
use crate::journal::Line;
use crate::seal::{is_zero, on_a_core};
use crate::session::{BackupSession, SlotState, ranges};

impl BackupSession {
    /// Says that slots hold what they hold in the parent, so that their bytes need not be read, as a record of changes has
    /// it. A slot that is done already keeps what it has; one that has no counterpart of the same length in the parent stays to
    /// be given.
    pub async fn keep(&mut self, slots: Range<u64>) -> Result<(), Error> {
        if slots.is_empty() {
            return Ok(());
        }
        self.check_slot(slots.end - 1)?;
        let Some(parent) = self.parent.clone() else { return Ok(()) };
        let there = parent.manifest.header.geometry;
        for slot in slots.start..slots.end.min(there.slot_count()) {
            let is_same_length = there.slot_length(slot) == self.geometry.slot_length(slot);
            if is_same_length && !self.is_done(slot) {
                self.settle_without_chunk(slot, parent.chunk(slot).is_none(), true);
                self.note_kept(slot..slot + 1);
            }
        }
        let saved = self.save_if_many().await;
        self.remember(saved)
    }

    /// The slots in which the parent has a chunk.
    ///
    /// Shape: ascending, disjoint, none empty.
    #[must_use]
    pub fn parent_slots(&self) -> Vec<Range<u64>> {
        self.parent.as_ref().map_or_else(Vec::new, |parent| ranges(parent.chunks().map(|(slot, _)| slot)))
    }

    /// Whether a slot of the parent holds these bytes. It changes nothing: an audit of what is about to be kept.
    ///
    /// Errors: a thread died.
    pub async fn is_as_parent(&self, slot: u64, plain: Bytes) -> Result<bool, Error> {
        let Some(parent) = &self.parent else { return Ok(false) };
        let there = parent.manifest.header.geometry;
        if slot >= there.slot_count() || u64::from(there.slot_length(slot)) != plain.len() as u64 {
            return Ok(false);
        }
        let (key, known) = (self.key.clone(), parent.chunk(slot).map(|chunk| chunk.digest));
        on_a_core(move || match known {
            None => is_zero(&plain),
            Some(digest) => key.digest(&plain) == digest,
        })
        .await
    }

    /// Whether there are slots that this or an earlier attempt kept and nobody read.
    #[must_use]
    pub fn keeps_unread(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Notes that what is recorded of changes since the parent is false, so that every byte is read: now, and by all later
    /// attempts. What was kept by that record is to be given again. Durable when it returns.
    pub async fn distrust_changes(&mut self, reason: &str) -> Result<(), Error> {
        self.unsaved.retain(|run| !run.kept);
        let noted = self.writer.journal().append(&[Line::ReadAll { reason: reason.to_owned() }]).await;
        self.remember(noted)?;
        self.read_all = Some(reason.to_owned());
        self.drop_kept();
        Ok(())
    }

    /// Why no record of changes counts, if this or an earlier attempt found it false.
    #[must_use]
    pub fn distrusts_changes(&self) -> Option<&str> {
        self.read_all.as_deref()
    }

    pub(crate) fn note_kept(&mut self, slots: Range<u64>) {
        match self.kept.last_mut() {
            Some(last) if last.end == slots.start => last.end = slots.end,
            _ => self.kept.push(slots),
        }
    }

    /// What was kept is to be given.
    pub(crate) fn drop_kept(&mut self) {
        for slot in std::mem::take(&mut self.kept).into_iter().flatten() {
            if matches!(self.slot(slot), Some(SlotState::Hole | SlotState::AsParent)) {
                self.set(slot, SlotState::Pending);
            }
        }
    }
}
