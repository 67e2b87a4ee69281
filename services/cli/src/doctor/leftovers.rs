//! `holdfast doctor --leftovers`: what sagas that are over left in the cloud and on its hosts.

use std::time::Duration;

use rest_api::NewSweep;

use crate::command::Session;
use crate::error::{Error, Exit};
use crate::output::tell;
use crate::wait;

const COLUMNS: &[&str] =
    &["kind", "host", "id", "name", "project_id", "age_seconds", "size_bytes", "outcome", "reason"];

/// Has all projects looked at, shows what is there, and with `is_removed` what became of it.
///
/// Errors: exit code 1 when something is there that was not removed, or when a project could not be looked at.
pub(super) async fn run(session: &Session<'_>, is_removed: bool, age_min: Duration) -> Result<(), Error> {
    let client = session.connection.client().await?;
    let sweep = NewSweep { remove: is_removed, older_than_seconds: age_min.as_secs() };
    let id = client.start_sweep(sweep).await?;
    let (_, ending) = wait::wait(|| client.show_saga(id)).await?;
    let found = client.show_sweep(id).await?;
    session.output.list(&found.leftovers, COLUMNS)?;
    for unseen in &found.unseen {
        tell(&format!("project {} could not be looked at: {}", unseen.project_id, unseen.reason));
    }
    for unseen in &found.unseen_hosts {
        tell(&format!("host {} could not be looked at: {}", unseen.host, unseen.reason));
    }
    ending?;
    let left = found.leftovers.iter().filter(|leftover| leftover.outcome != "removed").count();
    match (left, found.unseen.len(), found.unseen_hosts.len()) {
        (0, 0, 0) => Ok(()),
        (left, projects, hosts) => {
            let message = format!(
                "{left} leftovers are there, {projects} projects and {hosts} hosts could not be looked at"
            );
            Err(Error::new(Exit::Failed, message))
        }
    }
}

/// `90`, `90s`, `15m`, `2h`, `3d`.
pub(super) fn read_age(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(format!("{text:?} is no age: expected for example 90s, 15m, 2h or 3d")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no age: expected for example 2h"))?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(|| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_with_a_unit() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("3d", 259_200)] {
            assert_eq!(read_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "2 h", "-1h", "1w", "99999999999999999999", "18446744073709551615d"] {
            assert!(read_age(text).is_err(), "{text}");
        }
    }
}
