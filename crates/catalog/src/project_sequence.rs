//! The numbers of a project's facts: a subscriber that misses one sees the gap.

use model::ProjectId;

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::values;

statements! {
    INSERT_PROJECT_SEQUENCE = "INSERT INTO project_sequence (project_id, next) VALUES (?, 1)";
    BUMP_PROJECT_SEQUENCE = "UPDATE project_sequence SET next = next + 1 WHERE project_id = ?";
    GET_PROJECT_SEQUENCE = "SELECT next FROM project_sequence WHERE project_id = ?";
}

impl Tx {
    /// Draws the next number of a project, from 1. The row stays locked until the commit, so numbers are committed in
    /// their order and a rolled-back one is drawn again: no gaps.
    pub async fn next_project_sequence(&mut self, project_id: &ProjectId) -> Result<u64> {
        if !self.swap(&BUMP_PROJECT_SEQUENCE, values![project_id]).await? {
            match self.execute(&INSERT_PROJECT_SEQUENCE, values![project_id]).await {
                Ok(_) => return Ok(1),
                // Another controller drew the first number meanwhile.
                Err(Error::Duplicate { .. }) => {
                    self.swap(&BUMP_PROJECT_SEQUENCE, values![project_id]).await?
                }
                Err(error) => return Err(error),
            };
        }
        match self.fetch_optional(&GET_PROJECT_SEQUENCE, values![project_id]).await? {
            Some(row) => row.number("next"),
            None => Err(Error::Conflict {
                what: format!("the sequence of project {project_id}"),
                retryable: true,
            }),
        }
    }
}
