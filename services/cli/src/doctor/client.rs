//! What a user needs: a config, an endpoint that answers, a token that counts; then what the service finds.

use model::{Check, WorkloadId};
use rest_api::{Client, DoctorCheck};

use crate::connection::Connection;
use crate::error::Error;

/// Checks from the options to the service's own; stops where nothing further can be known.
pub(super) async fn check(connection: &Connection, workload: Option<WorkloadId>) -> Vec<DoctorCheck> {
    let client = match connection.client().await {
        Ok(client) => client,
        Err(error) => {
            return vec![show(Check::fail("client config", "CLIENT_CONFIG_INVALID", error.to_string()))];
        }
    };
    let endpoint = client.endpoint();
    let config = format!("endpoint {endpoint}, project {}", endpoint.project());
    let mut checks = vec![show(Check::ok("client config", config))];
    match client.health().await {
        Ok(health) if health.problems.is_empty() => {
            checks.push(show(Check::ok("service", format!("version {}", health.version))));
        }
        Ok(health) => {
            checks.push(show(Check::warn("service", "SERVICE_DEGRADED", health.problems.join("; "))));
        }
        Err(error) => {
            let message = format!("{}; is the endpoint right, and the controller up?", Error::from(error));
            checks.push(show(Check::fail("service", "SERVICE_NOT_REACHABLE", message)));
            return checks;
        }
    }
    checks.extend(examine(&client, workload).await);
    checks
}

async fn examine(client: &Client, workload: Option<WorkloadId>) -> Vec<DoctorCheck> {
    match client.examine(workload).await {
        Ok(found) => [show(Check::ok("token", "accepted"))].into_iter().chain(found).collect(),
        Err(error) => {
            let code = match &error {
                rest_api::Error::Refused { detail, .. } => detail.error_code.clone(),
                _ => "SERVICE_NOT_REACHABLE".to_owned(),
            };
            vec![show(Check::fail("token", &code, Error::from(error).to_string()))]
        }
    }
}

fn show(check: Check) -> DoctorCheck {
    DoctorCheck {
        service: "client".to_owned(),
        host: String::new(),
        check: check.subject,
        result: check.verdict,
        code: check.code,
        message: check.message,
    }
}
