//! Trusts: with which the cloud lets Holdfast act for a user in a project. One for each user and project, so that two
//! controllers that make one at the same time see each other; the loser takes its own back.

use model::{ProjectId, Timestamp, UserId};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};
use crate::words::TrustState;
use crate::workload::limit;

/// One row of `trust`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRow {
    pub id: Uuid,
    pub project_id: ProjectId,
    pub user_id: UserId,
    /// With its domain; for people.
    pub project_name: String,
    /// With its domain; for people.
    pub user_name: String,
    /// The cloud's id of it.
    pub trust_id: String,
    /// Names of the roles that it lends.
    pub roles: Vec<String>,
    pub state: TrustState,
    /// Why it cannot be used.
    pub reason: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What `list_trusts` gives; `None` is any.
#[derive(Debug, Clone, Default)]
pub struct TrustFilter {
    pub project_id: Option<ProjectId>,
    pub user_id: Option<UserId>,
    pub limit: Option<u32>,
}

statements! {
    INSERT_TRUST = "INSERT INTO trust (id, project_id, user_id, project_name, user_name, trust_id, roles, state, reason, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    GET_TRUST = "SELECT id, project_id, user_id, project_name, user_name, trust_id, roles, state, reason, created_at, updated_at FROM trust WHERE project_id = ? AND user_id = ?";
    LIST_TRUSTS = "SELECT id, project_id, user_id, project_name, user_name, trust_id, roles, state, reason, created_at, updated_at FROM trust WHERE (? IS NULL OR project_id = ?) AND (? IS NULL OR user_id = ?) ORDER BY created_at DESC, id DESC LIMIT ?";
    SWAP_TRUST = "UPDATE trust SET project_name = ?, user_name = ?, trust_id = ?, roles = ?, state = ?, reason = ?, created_at = ?, updated_at = ? WHERE id = ? AND trust_id = ?";
    UPDATE_TRUST_STATE = "UPDATE trust SET state = ?, reason = ?, updated_at = ? WHERE id = ? AND trust_id = ?";
    DELETE_TRUST = "DELETE FROM trust WHERE id = ? AND trust_id = ?";
}

impl Tx {
    /// Notes a trust; false when the user has one in the project.
    pub async fn insert_trust(&mut self, row: &TrustRow) -> Result<bool> {
        let values = values![
            row.id,
            &row.project_id,
            &row.user_id,
            &row.project_name,
            &row.user_name,
            &row.trust_id,
            &join(&row.roles),
            row.state,
            row.reason.as_deref(),
            row.created_at,
            row.updated_at,
        ];
        match self.execute(&INSERT_TRUST, values).await {
            Ok(_) => Ok(true),
            Err(Error::Duplicate { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub async fn get_trust(&mut self, project: &ProjectId, user: &UserId) -> Result<Option<TrustRow>> {
        let row = self.fetch_optional(&GET_TRUST, values![project, user]).await?;
        row.map(|row| TrustRow::read(&row)).transpose()
    }

    /// Shape: newest first.
    pub async fn list_trusts(&mut self, filter: &TrustFilter) -> Result<Vec<TrustRow>> {
        let (project, user) = (filter.project_id.as_ref(), filter.user_id.as_ref());
        let values = values![project, project, user, user, limit(filter.limit)];
        self.fetch_all(&LIST_TRUSTS, values).await?.iter().map(TrustRow::read).collect()
    }

    /// Puts `row` in the place of the trust `known` of the same row; false when that is there no more.
    pub async fn swap_trust(&mut self, known: &str, row: &TrustRow) -> Result<bool> {
        let values = values![
            &row.project_name,
            &row.user_name,
            &row.trust_id,
            &join(&row.roles),
            row.state,
            row.reason.as_deref(),
            row.created_at,
            row.updated_at,
            row.id,
            known,
        ];
        self.swap(&SWAP_TRUST, values).await
    }

    /// Notes whether a trust can be used; false when it is there no more.
    pub async fn update_trust_state(
        &mut self,
        row: &TrustRow,
        state: TrustState,
        reason: Option<&str>,
    ) -> Result<bool> {
        let now = self.now();
        self.swap(&UPDATE_TRUST_STATE, values![state, reason, now, row.id, &row.trust_id]).await
    }

    /// Forgets a trust; false when it is there no more.
    pub async fn delete_trust(&mut self, row: &TrustRow) -> Result<bool> {
        self.swap(&DELETE_TRUST, values![row.id, &row.trust_id]).await
    }
}

impl TrustRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.parse("id")?,
            project_id: row.parse("project_id")?,
            user_id: row.parse("user_id")?,
            project_name: row.text("project_name")?,
            user_name: row.text("user_name")?,
            trust_id: row.text("trust_id")?,
            roles: row.json("roles")?,
            state: row.parse("state")?,
            reason: row.text_opt("reason")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        })
    }
}

/// The cloud lets a role's name hold any character, so a divider of ours would not do.
fn join(roles: &[String]) -> String {
    serde_json::Value::from(roles.to_vec()).to_string()
}
