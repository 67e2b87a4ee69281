//! A snapshot of a disk on its way back. Every byte is checked before it is given out.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use backup_target::BackupTarget;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use model::{ByteCount, LineageId, PackId, SnapshotId};
use target_format::{Digest, names, unseal};

use crate::fetch::Lineage;
use crate::map::{Map, PackIndex};
use crate::seal::on_a_core;
use crate::session::ranges;
use crate::{Error, LineageKey};

/// Units: bytes of plaintext. With 16 reads under way a restore takes at most 128 MiB of memory.
const READ_PLAIN_MAX: u64 = 4 << 20;
/// Units: bytes. A smaller gap between two chunks is cheaper to read than a second read.
const GAP_MAX: u64 = 64 << 10;
const READS_MAX: usize = 16;

/// Reads one disk of one snapshot. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Restorer {
    source: Arc<Source>,
}

#[derive(Debug)]
struct Source {
    lineage: Lineage,
    key: LineageKey,
    map: Map,
    index: PackIndex,
}

/// Where a chunk is, and how it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    pack_id: PackId,
    offset: u32,
    slot: u64,
    stored_length: u32,
    plain_length: u32,
    crc32: u32,
    zstd: bool,
    digest: Digest,
}

impl Piece {
    fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.stored_length)
    }
}

impl Restorer {
    /// Reads the manifest and all segments, and checks header and index of every pack that is named.
    ///
    /// Errors: `ManifestMissing`, `ManifestDamaged`, `KeyWrong`, `PackMissing`, `PackDamaged`, the target's.
    pub async fn open(
        target: Arc<dyn BackupTarget>,
        lineage: LineageId,
        snapshot: SnapshotId,
        key: LineageKey,
    ) -> Result<Self, Error> {
        let lineage = Lineage { target, id: lineage };
        let map = Map::load(&lineage, snapshot).await?;
        if map.manifest.header.key_id != key.id() {
            return Err(Error::KeyWrong { manifest: names::manifest(lineage.id, snapshot) });
        }
        let index = PackIndex::load(&lineage, &map).await?;
        Ok(Self { source: Arc::new(Source { lineage, key, map, index }) })
    }

    /// Size of the disk.
    #[must_use]
    pub fn disk_size(&self) -> ByteCount {
        ByteCount(self.source.map.manifest.header.geometry.disk_size())
    }

    /// Size of all slots but perhaps the last.
    #[must_use]
    pub fn chunk_size(&self) -> ByteCount {
        ByteCount(u64::from(self.source.map.manifest.header.geometry.chunk_size()))
    }

    /// BLAKE3 of the manifest, for comparison with the catalog's.
    #[must_use]
    pub fn manifest_digest(&self) -> Digest {
        self.source.map.digest
    }

    /// How many slots the disk has.
    #[must_use]
    pub fn slot_count(&self) -> u64 {
        self.source.map.manifest.header.geometry.slot_count()
    }

    /// How many slots are no holes.
    #[must_use]
    pub fn chunk_count(&self) -> u64 {
        self.source.map.manifest.header.chunk_count
    }

    /// How many packs the snapshot needs.
    #[must_use]
    pub fn pack_count(&self) -> u64 {
        self.source.map.manifest.packs.len() as u64
    }

    /// The slots that read as zeroes.
    ///
    /// Shape: ascending, disjoint, none empty.
    #[must_use]
    pub fn holes(&self) -> Vec<Range<u64>> {
        ranges((0..self.slot_count()).filter(|slot| self.source.map.chunk(*slot).is_none()))
    }

    /// All slots that are no holes, about in the order in which they lie on the target.
    #[must_use]
    pub fn slots(&self) -> SlotStream {
        let mut pieces: Vec<_> = self
            .source
            .map
            .chunks()
            .map(|(slot, _)| self.source.piece(slot).expect("chunks gave the slot"))
            .collect();
        pieces.sort_unstable();
        let source = Arc::clone(&self.source);
        let reads = stream::iter(group(pieces)).map(move |pieces| {
            // A task of its own: it opens what it has read while the caller writes.
            let read = tokio::spawn(Arc::clone(&source).read(pieces));
            async move { read.await.map_err(Error::WorkerLost)? }
        });
        SlotStream {
            reads: reads.buffer_unordered(READS_MAX).boxed(),
            ready: VecDeque::new(),
            bytes_fetched: 0,
        }
    }

    /// One slot; a hole gives zeroes.
    ///
    /// Errors: `SlotOutside`, and those of `slots`.
    pub async fn read_slot(&self, slot: u64) -> Result<Bytes, Error> {
        let slot_count = self.slot_count();
        if slot >= slot_count {
            return Err(Error::SlotOutside { slot, slot_count });
        }
        let Some(piece) = self.source.piece(slot) else {
            let length = self.source.map.manifest.header.geometry.slot_length(slot);
            return Ok(vec![0; usize::try_from(length).expect("at most 16 MiB")].into());
        };
        let read = Arc::clone(&self.source).read(vec![piece]).await?;
        Ok(read.slots.into_iter().next().expect("one piece gives one slot").1)
    }
}

impl Source {
    fn piece(&self, slot: u64) -> Option<Piece> {
        let chunk = self.map.chunk(slot)?;
        let plain_length = self.map.manifest.header.geometry.slot_length(slot);
        let entry = self.index.find(chunk, plain_length).expect("opening found every chunk in its index");
        Some(Piece {
            pack_id: chunk.pack_id,
            offset: chunk.offset,
            slot,
            stored_length: chunk.stored_length,
            plain_length,
            crc32: entry.crc32,
            zstd: chunk.zstd,
            digest: chunk.digest,
        })
    }

    /// Reads pieces of one pack that lie near each other.
    async fn read(self: Arc<Self>, pieces: Vec<Piece>) -> Result<Read, Error> {
        let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
        let start = u64::from(first.offset);
        let stored = self.lineage.pack_range(first.pack_id, start, last.end() - start).await?;
        let bytes_fetched = stored.len() as u64;
        let open_all = move || pieces.iter().map(|piece| self.open_piece(piece, &stored, start)).collect();
        let slots: Result<Vec<_>, Error> = on_a_core(open_all).await?;
        Ok(Read { slots: slots?, bytes_fetched })
    }

    fn open_piece(&self, piece: &Piece, stored: &Bytes, start: u64) -> Result<(u64, Bytes), Error> {
        let damaged = |reason: &str| {
            let Piece { offset, slot, .. } = piece;
            self.lineage.pack_damaged(
                piece.pack_id,
                format_args!("the chunk of slot {slot} at byte {offset}: {reason}"),
            )
        };
        let place = |at: u64| usize::try_from(at - start).expect("the read was of these bytes");
        let stored = stored.slice(place(u64::from(piece.offset))..place(piece.end()));
        if crc32fast::hash(&stored) != piece.crc32 {
            return Err(damaged("its checksum differs"));
        }
        let opened =
            unseal(&stored, piece.plain_length, piece.zstd).map_err(|error| damaged(&error.to_string()))?;
        let plain = match opened {
            std::borrow::Cow::Borrowed(_) => stored.clone(),
            std::borrow::Cow::Owned(plain) => plain.into(),
        };
        if self.key.digest(&plain) == piece.digest {
            Ok((piece.slot, plain))
        } else {
            Err(damaged("its keyed digest differs"))
        }
    }
}

/// Groups sorted pieces into reads: one pack each, small gaps, bounded.
fn group(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut groups: Vec<Vec<Piece>> = Vec::new();
    let mut plain_length = 0;
    for piece in pieces {
        let length = u64::from(piece.plain_length);
        let joins = groups.last().and_then(|group| group.last()).is_some_and(|last| {
            let gap = u64::from(piece.offset).saturating_sub(last.end());
            last.pack_id == piece.pack_id && gap <= GAP_MAX && plain_length + length <= READ_PLAIN_MAX
        });
        match groups.last_mut() {
            Some(group) if joins => {
                plain_length += length;
                group.push(piece);
            }
            _ => {
                plain_length = length;
                groups.push(vec![piece]);
            }
        }
    }
    groups
}

#[derive(Debug)]
struct Read {
    slots: Vec<(u64, Bytes)>,
    bytes_fetched: u64,
}

/// Slots as they arrive: 16 reads of at most 4 MiB are under way. Memory: twice that.
pub struct SlotStream {
    reads: BoxStream<'static, Result<Read, Error>>,
    ready: VecDeque<(u64, Bytes)>,
    bytes_fetched: u64,
}

impl SlotStream {
    /// The next slot: its index, and its checked bytes; `None` after the last. Ends after an error.
    ///
    /// Cancel safe: yes.
    pub async fn next(&mut self) -> Option<Result<(u64, Bytes), Error>> {
        loop {
            if let Some(slot) = self.ready.pop_front() {
                return Some(Ok(slot));
            }
            match self.reads.next().await? {
                Ok(read) => {
                    self.bytes_fetched += read.bytes_fetched;
                    self.ready.extend(read.slots);
                }
                Err(error) => {
                    self.reads = stream::empty().boxed();
                    return Some(Err(error));
                }
            }
        }
    }

    /// Bytes read from the target so far.
    #[must_use]
    pub fn bytes_fetched(&self) -> ByteCount {
        ByteCount(self.bytes_fetched)
    }
}

impl fmt::Debug for SlotStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotStream").field("bytes_fetched", &self.bytes_fetched).finish_non_exhaustive()
    }
}
