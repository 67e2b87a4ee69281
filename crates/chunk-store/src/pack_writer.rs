//! Fills packs and puts them: one is being filled while the one before is on its way.

use std::collections::BTreeMap;

use model::PackId;
use runtime::Entropy;
use target_format::{
    BlobKind, ChunkRef, Digest, PackBuilder, PackHeader, PackRef, Sealed, SealedPack, SegmentRef,
};
use tokio::task::JoinHandle;

use crate::Error;
use crate::fetch::Lineage;
use crate::journal::{Content, Journal, Line, Run};
use crate::seal::on_a_core;

/// Units: bytes. 64 MiB: few enough objects for a listing, small enough to keep two in memory per disk.
pub(crate) const PACK_LENGTH_TARGET: u64 = 64 << 20;

/// Owns the packs of one session.
#[derive(Debug)]
pub(crate) struct PackWriter {
    lineage: Lineage,
    journal: Journal,
    length_target: u64,
    filling: Option<Filling>,
    under_way: Option<UnderWay>,
    /// Packs of this session that are on the target.
    durable: BTreeMap<PackId, PackRef>,
}

#[derive(Debug)]
struct Filling {
    pack_id: PackId,
    builder: PackBuilder,
    contents: Vec<Content>,
}

#[derive(Debug)]
struct UnderWay {
    pack: PackRef,
    put: JoinHandle<Result<(), backup_target::Error>>,
}

impl PackWriter {
    pub(crate) fn new(lineage: Lineage, journal: Journal, length_target: u64) -> Self {
        Self { lineage, journal, length_target, filling: None, under_way: None, durable: BTreeMap::new() }
    }

    pub(crate) fn durable(&self) -> &BTreeMap<PackId, PackRef> {
        &self.durable
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Takes over a pack that an earlier attempt put.
    pub(crate) fn adopt(&mut self, pack: PackRef) {
        self.durable.insert(pack.pack_id, pack);
    }

    /// Whether the next blob belongs into another pack.
    pub(crate) fn is_full(&self) -> bool {
        self.filling.as_ref().is_some_and(|filling| filling.builder.length() >= self.length_target)
    }

    pub(crate) fn append_chunk(&mut self, slot: u64, digest: Digest, sealed: &Sealed) -> ChunkRef {
        let filling = self.filling();
        let offset = filling.builder.append(BlobKind::Chunk, sealed);
        let stored_length = stored_length(sealed);
        let chunk = ChunkRef { digest, pack_id: filling.pack_id, offset, stored_length, zstd: sealed.zstd };
        filling.contents.push(Content::Chunk { slot, chunk });
        chunk
    }

    pub(crate) fn append_segment(&mut self, number: u32, digest: Digest, sealed: &Sealed) -> SegmentRef {
        let filling = self.filling();
        let offset = filling.builder.append(BlobKind::Segment, sealed);
        let (stored_length, pack_id) = (stored_length(sealed), filling.pack_id);
        let Sealed { plain_length, zstd, crc32, .. } = *sealed;
        let segment = SegmentRef { digest, pack_id, offset, stored_length, plain_length, crc32, zstd };
        filling.contents.push(Content::Segment { number, segment });
        segment
    }

    fn filling(&mut self) -> &mut Filling {
        let (target_id, lineage_id) = (self.lineage.target.id(), self.lineage.id);
        self.filling.get_or_insert_with(|| {
            let pack_id = PackId::from_uuid(Entropy.uuid());
            let builder = PackBuilder::new(&PackHeader { target_id, lineage_id, pack_id });
            Filling { pack_id, builder, contents: Vec::new() }
        })
    }

    /// Sends the pack being filled on its way, after the one before has arrived, and journals `runs` with it.
    pub(crate) async fn send(&mut self, runs: Vec<Run>) -> Result<(), Error> {
        self.arrive().await?;
        let mut lines = Vec::new();
        if !runs.is_empty() {
            lines.push(Line::Settled { runs });
        }
        let mut sealed = None;
        if let Some(Filling { pack_id, builder, contents }) = self.filling.take() {
            let SealedPack { bytes, digest, footer_length } = on_a_core(move || builder.finish()).await?;
            let pack = PackRef { pack_id, digest, length: bytes.len() as u64, footer_length };
            lines.push(Line::Intent { pack, contents });
            sealed = Some((pack, bytes));
        }
        if !lines.is_empty() {
            self.journal.append(&lines).await?;
        }
        if let Some((pack, bytes)) = sealed {
            let (target, name) = (self.lineage.target.clone(), self.lineage.pack_name(pack.pack_id));
            let put = tokio::spawn(async move { target.put(&name, bytes.into()).await });
            self.under_way = Some(UnderWay { pack, put });
        }
        Ok(())
    }

    /// Waits for the pack under way, and journals that it is durable.
    pub(crate) async fn arrive(&mut self) -> Result<(), Error> {
        let Some(UnderWay { pack, put }) = &mut self.under_way else { return Ok(()) };
        // Cancel safe: the handle stays in its place until it is ready.
        let outcome = put.await;
        let pack = *pack;
        self.under_way = None;
        outcome.map_err(Error::WorkerLost)??;
        self.journal.append(&[Line::Durable { pack_id: pack.pack_id }]).await?;
        self.durable.insert(pack.pack_id, pack);
        Ok(())
    }
}

fn stored_length(sealed: &Sealed) -> u32 {
    u32::try_from(sealed.stored.len()).expect("a blob is far below 4 GiB")
}
