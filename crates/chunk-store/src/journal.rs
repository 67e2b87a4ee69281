//! What a killed session need not do again: a file of lines, each `<crc32> <json>`, synced after each batch.
//!
//! A pack is announced before it is put (`Intent`) and confirmed after (`Durable`). One that was announced and not
//! confirmed is looked for on the target: either way no pack is ever forgotten there. A torn or damaged line ends the
//! journal; what came after it is done again.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{LineageId, PackId, SnapshotId, TargetId};
use serde::{Deserialize, Serialize};
use target_format::{ChunkRef, Digest, PackRef, SegmentRef};

use crate::Error;

/// Of which transfer the journal is. Any difference makes it another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) format: u32,
    pub(crate) target_id: TargetId,
    pub(crate) lineage_id: LineageId,
    pub(crate) snapshot_id: SnapshotId,
    pub(crate) parent: Option<SnapshotId>,
    pub(crate) parent_manifest: Option<Digest>,
    pub(crate) key_id: [u8; 16],
    pub(crate) chunk_size: u64,
    pub(crate) disk_size: u64,
}

/// What lies in a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Content {
    Chunk { slot: u64, chunk: ChunkRef },
    Segment { number: u32, segment: SegmentRef },
}

/// Slots that need no chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// They read as zeroes; else they are as the parent's.
    pub(crate) hole: bool,
    /// On the word of a record of changes alone. Earlier versions did not say: then it may be so.
    #[serde(default = "unsaid")]
    pub(crate) kept: bool,
}

const fn unsaid() -> bool {
    true
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Begin(Begin),
    Intent {
        pack: PackRef,
        contents: Vec<Content>,
    },
    Durable {
        pack_id: PackId,
    },
    Settled {
        runs: Vec<Run>,
    },
    /// No record of changes counts any more: see `BackupSession::distrust_changes`.
    ReadAll {
        reason: String,
    },
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Arc<File>,
}

impl Journal {
    /// Opens or makes the journal and gives the lines after the first, which must be `begin`.
    ///
    /// Errors: `JournalForeign`.
    pub(crate) async fn open(path: PathBuf, begin: Begin) -> Result<(Self, Vec<Line>), Error> {
        let opened = tokio::task::spawn_blocking(move || {
            let outcome = open(&path, begin);
            match outcome {
                Ok(Some((file, lines))) => Ok((Self { path, file: Arc::new(file) }, lines)),
                Ok(None) => Err(Error::JournalForeign { path }),
                Err(source) => Err(Error::JournalIo { path, source }),
            }
        });
        opened.await.map_err(Error::WorkerLost)?
    }

    /// Appends lines; they are on the disk when this returns.
    pub(crate) async fn append(&self, lines: &[Line]) -> Result<(), Error> {
        let (file, text) = (Arc::clone(&self.file), lines.iter().map(encode).collect::<String>());
        let write = move || (&*file).write_all(text.as_bytes()).and_then(|()| file.sync_data());
        let written = tokio::task::spawn_blocking(write).await.map_err(Error::WorkerLost)?;
        written.map_err(|source| Error::JournalIo { path: self.path.clone(), source })
    }

    /// Removes the file. One that stays is harmless: the manifest is found first.
    pub(crate) fn remove(path: &Path) {
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a finished transfer's journal stays behind");
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn open(path: &Path, begin: Begin) -> std::io::Result<Option<(File, Vec<Line>)>> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let (mut lines, good_length) = decode(&text);
    match lines.first() {
        Some(Line::Begin(found)) if *found == begin => {}
        Some(_) => return Ok(None),
        None => {}
    }
    file.set_len(good_length)?;
    file.seek(SeekFrom::End(0))?;
    if lines.is_empty() {
        file.write_all(encode(&Line::Begin(begin)).as_bytes())?;
        file.sync_all()?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
    } else {
        lines.remove(0);
    }
    Ok(Some((file, lines)))
}

fn encode(line: &Line) -> String {
    let json = serde_json::to_string(line).expect("lines hold only what JSON can say");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// Gives the good lines and how many bytes they take.
fn decode(text: &[u8]) -> (Vec<Line>, u64) {
    let mut lines = Vec::new();
    let mut good_length = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let Some(decoded) = decode_line(line) else { break };
        lines.push(decoded);
        good_length += line.len() as u64;
    }
    (lines, good_length)
}

fn decode_line(line: &[u8]) -> Option<Line> {
    let (crc32, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let crc32 = std::str::from_utf8(crc32.strip_suffix(b" ")?).ok()?;
    (u32::from_str_radix(crc32, 16).ok()? == crc32fast::hash(json))
        .then(|| serde_json::from_slice(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_or_altered_line_ends_the_journal() {
        let run = |start| Run { start, end: start + 1, hole: true, kept: false };
        let line = |start| Line::Settled { runs: vec![run(start)] };
        let text: String = (0..3).map(|start| encode(&line(start))).collect();
        let length = text.len() / 3;
        assert_eq!(decode(text.as_bytes()), ((0..3).map(line).collect(), text.len() as u64));
        for cut in 1..=length {
            assert_eq!(decode(&text.as_bytes()[..text.len() - cut]).0.len(), 2, "{cut} bytes are missing");
        }
        for place in 0..length {
            let mut altered = text.clone().into_bytes();
            altered[length + place] ^= 0x55;
            assert_eq!(decode(&altered), (vec![line(0)], length as u64), "byte {place} of a line is altered");
        }
    }
}
