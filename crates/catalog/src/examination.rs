//! What services answered when somebody asked how they find themselves, one row for each question and service. The question
//! and the answers meet here, since any controller may hear an answer. Rows are of use for some seconds.

use chrono::NaiveDateTime;
use model::{HostName, Timestamp};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};
use crate::words::ServiceKind;

/// One row of `examination_answer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExaminationAnswerRow {
    pub examination_id: Uuid,
    pub kind: ServiceKind,
    pub host: HostName,
    /// The message as it came.
    pub answer: Vec<u8>,
    pub received_at: Timestamp,
}

statements! {
    INSERT_EXAMINATION_ANSWER = "INSERT INTO examination_answer (examination_id, kind, host, answer, received_at) VALUES (?, ?, ?, ?, ?)";
    LIST_EXAMINATION_ANSWERS = "SELECT examination_id, kind, host, answer, received_at FROM examination_answer WHERE examination_id = ? ORDER BY kind, host";
    FORGET_EXAMINATION_ANSWERS = "DELETE FROM examination_answer WHERE received_at < ?";
    // SQLite and MariaDB both give it as text in UTC, since sessions of ours have that time zone.
    GET_DATABASE_TIME = "SELECT CAST(CURRENT_TIMESTAMP AS CHAR(19)) AS now";
}

impl Tx {
    /// Notes an answer; one that comes twice changes nothing. It is received now.
    pub async fn insert_examination_answer(
        &mut self,
        examination_id: Uuid,
        kind: ServiceKind,
        host: &HostName,
        answer: &[u8],
    ) -> Result<()> {
        let values = values![examination_id, kind, host, answer, self.now()];
        match self.execute(&INSERT_EXAMINATION_ANSWER, values).await {
            Ok(_) | Err(Error::Duplicate { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Shape: by kind and host.
    pub async fn list_examination_answers(
        &mut self,
        examination_id: Uuid,
    ) -> Result<Vec<ExaminationAnswerRow>> {
        let rows = self.fetch_all(&LIST_EXAMINATION_ANSWERS, values![examination_id]).await?;
        rows.iter().map(ExaminationAnswerRow::read).collect()
    }

    /// Forgets what was received before; gives how many.
    pub async fn forget_examination_answers(&mut self, before: Timestamp) -> Result<u64> {
        self.execute(&FORGET_EXAMINATION_ANSWERS, values![before]).await
    }

    /// The time by the clock of the database's server. Units: whole seconds.
    pub async fn database_time(&mut self) -> Result<Timestamp> {
        let row = self.fetch_optional(&GET_DATABASE_TIME, values![]).await?;
        let refuse = |reason: &str| Error::Decode {
            statement: GET_DATABASE_TIME.name,
            column: "now",
            reason: reason.to_owned(),
        };
        let text = row.ok_or_else(|| refuse("there is no row"))?.text("now")?;
        let time = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S");
        time.map(|time| Timestamp(time.and_utc().timestamp_micros())).map_err(|_| refuse("it is no time"))
    }
}

impl ExaminationAnswerRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            examination_id: row.parse("examination_id")?,
            kind: row.parse("kind")?,
            host: row.parse("host")?,
            answer: row.blob("answer")?,
            received_at: row.time("received_at")?,
        })
    }
}
