//! The end of a session: segments, the last pack, the manifest.

use std::collections::BTreeSet;

use model::PackId;
use target_format::{Digest, Manifest, ManifestHeader, PackRef, Segment, SegmentRef, SlotEntry, names, seal};

use crate::Error;
use crate::seal::on_a_core;
use crate::session::{BackupSession, SlotState};

impl BackupSession {
    /// Puts what is left, then the manifest, last: INV-PACK-1.
    pub(crate) async fn put_manifest(&mut self) -> Result<(Manifest, Digest), Error> {
        let mut segments = Vec::new();
        let mut used = BTreeSet::new();
        for number in 0..self.geometry.segment_count() {
            let (segment, packs) = self.place_segment(number).await?;
            used.extend(packs);
            used.extend(segment.as_ref().map(|segment| segment.pack_id));
            segments.push(segment);
        }
        self.send_rest().await?;
        let manifest = Manifest { header: self.make_header(&used), segments, packs: self.pack_table(&used) };
        let bytes = manifest.encode();
        let digest = Digest::of(&bytes);
        let name = names::manifest(self.lineage.id, self.snapshot_id);
        self.lineage.target.put(&name, bytes.into()).await?;
        self.drop_unused(&used).await;
        Ok((manifest, digest))
    }

    /// Finds or makes segment `number`, and says which packs its entries name.
    async fn place_segment(&mut self, number: u32) -> Result<(Option<SegmentRef>, BTreeSet<PackId>), Error> {
        let entries = self.geometry.segment_slots(number).map(|slot| self.entry(slot)).collect();
        let segment = Segment { entries };
        let packs = segment.entries.iter().filter_map(|entry| match entry {
            SlotEntry::Chunk(chunk) => Some(chunk.pack_id),
            SlotEntry::Hole => None,
        });
        let packs: BTreeSet<_> = packs.collect();
        if packs.is_empty() {
            return Ok((None, packs));
        }
        if let Some(parent) = &self.parent
            && parent.segment(number) == Some(&segment)
        {
            let index = usize::try_from(number).expect("it indexes a vector of the parent");
            return Ok((parent.manifest.segments.get(index).copied().flatten(), packs));
        }
        let (digest, sealed) = on_a_core(move || {
            let plain = segment.encode();
            (Digest::of(&plain), seal(&plain))
        })
        .await?;
        if let Some(earlier) = self.segments.get(&(number, digest)) {
            return Ok((Some(*earlier), packs));
        }
        self.send_if_full().await?;
        Ok((Some(self.writer.append_segment(number, digest, &sealed)), packs))
    }

    fn entry(&self, slot: u64) -> SlotEntry {
        let parent_chunk = || self.parent.as_ref().and_then(|map| map.chunk(slot)).copied();
        match self.slot(slot) {
            Some(SlotState::Stored(chunk)) => SlotEntry::Chunk(*chunk),
            Some(SlotState::Hole) => SlotEntry::Hole,
            Some(SlotState::AsParent) => SlotEntry::Chunk(
                parent_chunk().expect("a slot is as the parent's only where that has a chunk"),
            ),
            Some(SlotState::Pending | SlotState::Sealing) | None => {
                unreachable!("all slots were checked to be settled")
            }
        }
    }

    /// Puts the last pack and waits for it.
    async fn send_rest(&mut self) -> Result<(), Error> {
        self.writer.send(Vec::new()).await?;
        self.writer.arrive().await
    }

    fn make_header(&self, used: &BTreeSet<PackId>) -> ManifestHeader {
        let count =
            |wanted: fn(&SlotState) -> bool| self.slots.iter().filter(|state| wanted(state)).count() as u64;
        let own = self.writer.durable().values().filter(|pack| used.contains(&pack.pack_id));
        ManifestHeader {
            target_id: self.lineage.target.id(),
            lineage_id: self.lineage.id,
            snapshot_id: self.snapshot_id,
            parent: self.parent.as_ref().map(|map| map.manifest.header.snapshot_id),
            key_id: self.key.id(),
            geometry: self.geometry,
            chunk_count: count(|state| *state != SlotState::Hole),
            chunks_stored_count: count(|state| matches!(state, SlotState::Stored(_))),
            bytes_stored: own.map(|pack| pack.length).sum(),
        }
    }

    /// The rows of the packs used: its own, and its parent's. INV-PACK-2.
    fn pack_table(&self, used: &BTreeSet<PackId>) -> Vec<PackRef> {
        let of_parent = |id| self.parent.as_ref().and_then(|map| map.manifest.pack(id));
        let find = |id: &PackId| self.writer.durable().get(id).or_else(|| of_parent(*id)).copied();
        used.iter().map(|id| find(id).expect("a slot is in an own pack or in one of the parent's")).collect()
    }

    /// Removes own packs that no slot needs: an earlier attempt's whose slots were done again because it was not yet to be
    /// seen. Nobody else can name them.
    async fn drop_unused(&self, used: &BTreeSet<PackId>) {
        for pack_id in self.writer.durable().keys().filter(|id| !used.contains(id)) {
            let name = self.lineage.pack_name(*pack_id);
            if let Err(error) = self.lineage.target.delete(&name).await {
                tracing::warn!(pack = %name, %error, "a pack that nobody needs stays until the next purge");
            }
        }
    }
}
