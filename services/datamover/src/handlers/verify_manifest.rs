//! Reads a manifest back from the target and checks that all it references is there.

use async_trait::async_trait;
use chunk_store::Level;
use model::{LineageId, SnapshotId, TargetId};
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::ManifestVerified;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};

#[derive(Debug)]
pub(super) struct VerifyManifest {
    target_id: TargetId,
    lineage_id: LineageId,
    snapshot_id: SnapshotId,
}

impl VerifyManifest {
    pub(super) fn parse(message: &cmd::VerifyManifest) -> Result<Self, Malformed> {
        Ok(Self {
            target_id: convert::id("target_id", &message.target_id)?,
            lineage_id: convert::id("lineage_id", &message.lineage_id)?,
            snapshot_id: convert::id("snapshot_id", &message.snapshot_id)?,
        })
    }

    async fn verify(&self, job: &Job) -> Outcome {
        let target = job.ports.means.targets.open(self.target_id).await.map_err(Halt::effect_free)?;
        let summary = tokio::select! {
            biased; // it only reads
            halt = job.control.stopped() => return Err(halt),
            verified = chunk_store::verify(&target, self.lineage_id, self.snapshot_id, Level::Presence) => {
                verified.map_err(|error| Halt::effect_free(error.failure()))?
            }
        };
        Ok(Reply::ManifestVerified(ManifestVerified {
            pack_count: summary.pack_count,
            chunk_count: summary.chunk_count,
            manifest_digest: summary.manifest_digest.as_bytes().to_vec(),
        }))
    }
}

#[async_trait]
impl Work for VerifyManifest {
    async fn run(&self, job: &Job) -> Outcome {
        self.verify(job).await.map_err(|halt| {
            halt.about(&format!(
                "failed to verify snapshot {} of lineage {}",
                self.snapshot_id, self.lineage_id
            ))
        })
    }
}
