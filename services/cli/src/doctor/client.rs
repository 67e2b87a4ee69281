//! What a user needs: an endpoint that answers, a token that counts, targets with room.

use model::ByteCount;
use rest_api::{Client, Target};

use super::{Check, judge_space};
use crate::connection::Connection;
use crate::error::Error;

/// Checks from the options to the targets; stops where nothing further can be known.
pub(super) async fn check(connection: &Connection) -> Vec<Check> {
    let client = match connection.client().await {
        Ok(client) => client,
        Err(error) => return vec![Check::fail("client config", "CLIENT_CONFIG_INVALID", error.to_string())],
    };
    let endpoint = client.endpoint();
    let config = format!("endpoint {endpoint}, project {}", endpoint.project());
    let mut checks = vec![Check::ok("client config", config)];
    match client.health().await {
        Ok(health) if health.problems.is_empty() => {
            checks.push(Check::ok("service", format!("version {}", health.version)));
        }
        Ok(health) => checks.push(Check::warn("service", "SERVICE_DEGRADED", health.problems.join("; "))),
        Err(error) => {
            checks.push(Check::fail("service", "SERVICE_NOT_REACHABLE", Error::from(error).to_string()));
            return checks;
        }
    }
    checks.extend(check_token(&client).await);
    checks
}

async fn check_token(client: &Client) -> Vec<Check> {
    let targets = match client.list_targets().await {
        Ok(targets) => targets,
        Err(error) => {
            let code = match &error {
                rest_api::Error::Refused { detail, .. } => detail.error_code.clone(),
                _ => "SERVICE_NOT_REACHABLE".to_owned(),
            };
            return vec![Check::fail("token", &code, Error::from(error).to_string())];
        }
    };
    let mut checks = vec![Check::ok("token", "accepted")];
    if targets.is_empty() {
        checks.push(Check::fail(
            "targets",
            "NO_TARGET",
            "the service has no backup target: add one to its config",
        ));
    }
    checks.extend(targets.iter().map(check_target));
    checks
}

fn check_target(target: &Target) -> Check {
    let name = format!("target {}", target.name);
    match (target.status.as_str(), target.available, target.capacity) {
        ("available", Some(free), Some(total)) => judge_space(&name, ByteCount(free), ByteCount(total)),
        ("available", ..) => Check::ok(name, "available"),
        _ => Check::fail(name, "TARGET_OFFLINE", target.error_msg.clone().unwrap_or_default()),
    }
}
