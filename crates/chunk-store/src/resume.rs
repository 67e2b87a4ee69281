//! The second beginning of a session: what its journal says, compared with what lies on the target.

use std::collections::BTreeSet;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use model::{ByteCount, PackId};

use crate::Error;
use crate::journal::{Content, Line, Run};
use crate::session::{BackupSession, SlotState};

/// Questions to the target under way.
const LOOKS_MAX: usize = 16;

impl BackupSession {
    /// Takes over what an earlier attempt left. Says whether there was anything.
    pub(crate) async fn resume(&mut self, lines: Vec<Line>) -> Result<bool, Error> {
        let there = self.packs_there(&lines).await?;
        let mut resumed = false;
        for line in lines {
            match line {
                Line::Settled { runs } => {
                    resumed = true;
                    runs.iter().for_each(|run| self.resume_run(run));
                }
                Line::Intent { pack, contents } if there.contains(&pack.pack_id) => {
                    resumed = true;
                    self.writer.adopt(pack);
                    contents.into_iter().for_each(|content| self.resume_content(content));
                }
                Line::ReadAll { reason } => {
                    resumed = true;
                    self.read_all = Some(reason);
                    self.drop_kept();
                }
                Line::Intent { .. } | Line::Durable { .. } | Line::Begin(_) => {}
            }
        }
        Ok(resumed)
    }

    /// Which of the announced packs are on the target: confirmed or not, only that counts.
    async fn packs_there(&self, lines: &[Line]) -> Result<BTreeSet<PackId>, Error> {
        let announced: Vec<_> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Intent { pack, .. } => Some(*pack),
                _ => None,
            })
            .collect();
        let lineage = &self.lineage;
        let looks: Vec<_> = announced
            .into_iter()
            .map(|pack| {
                async move {
                    let size = lineage.target.size(&lineage.pack_name(pack.pack_id)).await?;
                    Ok::<_, Error>((size == Some(ByteCount(pack.length))).then_some(pack.pack_id))
                }
                .boxed()
            })
            .collect();
        let found: Vec<Option<PackId>> = stream::iter(looks).buffered(LOOKS_MAX).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The journal is ours and its lines have checksums; yet a slot it cannot name must not end the process.
    fn resume_run(&mut self, run: &Run) {
        let slots = run.start..run.end.min(self.slot_count());
        if run.kept && !slots.is_empty() {
            self.note_kept(slots.clone());
        }
        for slot in slots {
            let has_parent = self.parent.as_ref().is_some_and(|map| map.chunk(slot).is_some());
            if run.hole {
                self.set(slot, SlotState::Hole);
            } else if has_parent {
                self.set(slot, SlotState::AsParent);
            }
        }
    }

    fn resume_content(&mut self, content: Content) {
        match content {
            Content::Chunk { slot, chunk } if slot < self.slot_count() => {
                self.set(slot, SlotState::Stored(chunk))
            }
            Content::Chunk { .. } => {}
            Content::Segment { number, segment } => {
                self.segments.insert((number, segment.digest), segment);
            }
        }
    }
}
