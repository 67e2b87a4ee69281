//! `repo.json`: what makes a folder a backup target.

use model::TargetId;
use serde::{Deserialize, Serialize};

/// The name of the record in the root of a target.
pub(crate) const NAME: &str = "repo.json";
/// As `target_format::FORMAT_VERSION`; a test of `chunk-store` holds them together.
pub(crate) const FORMAT_VERSION: u32 = 0;
/// Units: bytes. A record has about 120.
pub(crate) const LENGTH_MAX: usize = 4096;

/// The content of `repo.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoRecord {
    /// Version of everything on the target; 0 is unstable.
    pub format: u32,
    pub target_id: TargetId,
    pub digest: String,
    pub compression: String,
    pub cipher: String,
}

impl RepoRecord {
    pub(crate) fn new(target_id: TargetId) -> Self {
        let [digest, compression, cipher] = ["blake3", "zstd", "none"].map(str::to_owned);
        Self { format: FORMAT_VERSION, target_id, digest, compression, cipher }
    }

    /// Reads a record. The reason of a refusal is one sentence for the operator.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if record.format == FORMAT_VERSION {
            Ok(record)
        } else {
            Err(format!("it has format {}, and this program reads format {FORMAT_VERSION}", record.format))
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a record holds only what JSON can say");
        bytes.push(b'\n');
        bytes
    }
}
