//! Public facts: one message for each change of a status, numbered by project, committed with the change it tells of.

use std::collections::BTreeMap;

use bus_config::{exchange, fact as kind, key};
use catalog::{OutboxRow, SagaRow, Tx};
use model::{
    MessageId, ProjectId, RestoreId, RestoreState, SagaId, SnapshotId, SnapshotState, VolumeFact, VolumeId,
    WorkloadId, WorkloadState,
};
use prost::{Message as _, Name as _};
use proto::evt::v1::Fact;
use runtime::Entropy;
use saga::Phase;
use uuid::Uuid;

/// What has which status from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    Workload(WorkloadId, WorkloadState),
    Snapshot(SnapshotId, SnapshotState),
    Restore(RestoreId, RestoreState),
    Saga(SagaId, Phase),
    /// A user's.
    Volume(VolumeId, VolumeFact),
}

/// What there is to tell.
#[derive(Debug)]
pub struct News<'a> {
    pub project_id: &'a ProjectId,
    pub workload_id: WorkloadId,
    /// Whose work it was.
    pub saga_id: Option<SagaId>,
    pub became: Became,
    /// Code and message, where it did not go as asked.
    pub reason: Option<(&'a str, &'a str)>,
}

impl Became {
    /// Kind, fact and object, as in the routing key and the message.
    fn parts(self) -> (&'static str, &'static str, Uuid) {
        match self {
            Self::Workload(id, status) => (kind::WORKLOAD, status.as_str(), id.uuid()),
            Self::Snapshot(id, status) => (kind::SNAPSHOT, status.as_str(), id.uuid()),
            Self::Restore(id, status) => (kind::RESTORE, status.as_str(), id.uuid()),
            Self::Saga(id, phase) => (kind::SAGA, phase.as_str(), id.uuid()),
            Self::Volume(id, fact) => (kind::VOLUME, fact.as_str(), id.uuid()),
        }
    }

    /// A snapshot that is available again after a restore failed has nothing to do with that failure.
    const fn wants_reason(self) -> bool {
        match self {
            Self::Workload(_, status) => matches!(status, WorkloadState::Error),
            Self::Snapshot(_, status) => matches!(status, SnapshotState::Error | SnapshotState::Cancelled),
            Self::Restore(_, status) => matches!(status, RestoreState::Error | RestoreState::Cancelled),
            Self::Saga(_, phase) => !matches!(phase, Phase::Forward | Phase::Succeeded),
            // It has one of its own, and never the saga's.
            Self::Volume(..) => false,
        }
    }
}

/// News of a saga's work, with the reason that the saga has where the status is one that needs it.
pub(super) fn news_of(saga: &SagaRow, became: Became) -> News<'_> {
    let code = saga.error_code.as_deref().filter(|_| became.wants_reason());
    News {
        project_id: &saga.project_id,
        workload_id: saga.workload_id,
        saga_id: Some(saga.id),
        became,
        reason: code.map(|code| (code, saga.error_message.as_deref().unwrap_or_default())),
    }
}

/// Puts a fact into the outbox.
pub(super) async fn insert(tx: &mut Tx, entropy: Entropy, news: &News<'_>) -> Result<(), catalog::Error> {
    // First, since it waits for whoever drew the number before: the relay publishes by time.
    let sequence = tx.next_project_sequence(news.project_id).await?;
    let happened_at = tx.now();
    let (kind, word, object_id) = news.became.parts();
    let (code, message) = news.reason.unwrap_or_default();
    let fact = Fact {
        project_id: news.project_id.to_string(),
        sequence,
        kind: kind.to_owned(),
        fact: word.to_owned(),
        object_id: object_id.to_string(),
        workload_id: news.workload_id.to_string(),
        happened_at: happened_at.0,
        message: message.to_owned(),
        code: code.to_owned(),
    };
    let row = OutboxRow {
        id: entropy.uuid(),
        saga_id: news.saga_id,
        message_id: MessageId::from_uuid(entropy.uuid()),
        exchange: exchange::EVT.to_owned(),
        routing_key: key::fact(news.project_id, kind, word),
        type_name: Fact::full_name(),
        headers: BTreeMap::new(),
        body: fact.encode_to_vec(),
        created_at: happened_at,
        attempts: 0,
    };
    tx.insert_outbox(&row).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `bus-config` does not know sagas, and tells subscribers what to expect all the same.
    #[test]
    fn the_published_list_has_every_phase_of_a_saga() {
        let words = Phase::ALL.map(Phase::as_str);
        let published = bus_config::fact::all().into_iter().find(|(kind, _)| *kind == kind::SAGA).unwrap().1;
        assert_eq!(published, words);
    }
}
