//! The APIs of compute and block storage as the service identity: where no database may be read, or none answers.

use std::time::Duration;

use async_trait::async_trait;
use cloud::Located;
use model::{Failure, InstanceId, VolumeId};
use openstack::{Service, Session};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::instance_state::InstanceState;
use crate::source::{Source, VolumeState};

const HOST: &str = "OS-EXT-SRV-ATTR:host";
const VM_STATE: &str = "OS-EXT-STS:vm_state";
const TASK_STATE: &str = "OS-EXT-STS:task_state";
const VOLUME_HOST: &str = "os-vol-host-attr:host";
/// What Nova says of a server whose cell it cannot reach.
const STATUS_OF_DOWN_CELL: &str = "UNKNOWN";

/// For one request: whoever asks for a place waits for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The saga tries again by itself.
const ATTEMPTS_MAX: u32 = 2;

/// Both APIs.
#[derive(Debug)]
pub(crate) struct Api {
    session: Session,
}

impl Api {
    /// Errors: what is configured makes no sense.
    pub(crate) fn new(mut config: openstack::Config) -> Result<Self, openstack::Error> {
        config.timeouts.request = REQUEST_TIMEOUT;
        config.retry.attempts_max = Some(ATTEMPTS_MAX);
        Ok(Self { session: Session::new(config)? })
    }

    /// The object `noun` at `path`, if there is one.
    async fn show(&self, service: Service, path: &str, noun: &str) -> Result<Option<Value>, Failure> {
        let found = self.session.get(service, path).json_if_found::<Value>().await;
        let found = found.map_err(|error| error.failure())?;
        Ok(found.map(|mut answer| answer.get_mut(noun).map(Value::take).unwrap_or_default()))
    }

    /// Whether Nova remembers a server that it no longer shows.
    async fn was_deleted(&self, id: InstanceId) -> Result<bool, Failure> {
        let list = self.session.get(Service::Compute, "/servers/detail");
        let list = list.query("all_tenants", true).query("deleted", true).query("uuid", id).query("limit", 1);
        let listed = list.json::<Value>().await.map_err(|error| error.failure())?;
        let servers = listed["servers"].as_array();
        Ok(servers.is_some_and(|servers| servers.iter().any(|server| server["id"] == id.to_string())))
    }
}

#[async_trait]
impl Source for Api {
    async fn locate(&self, id: InstanceId) -> Result<Located, Failure> {
        let server = self.show(Service::Compute, &format!("/servers/{id}"), "server").await?;
        match server {
            Some(server) => Ok(read_server(id, &server)?.locate(id)?),
            None if self.was_deleted(id).await? => Ok(Located::Deleted),
            None => Ok(Located::Nowhere),
        }
    }

    async fn volume(&self, id: VolumeId) -> Result<Option<VolumeState>, Failure> {
        let volume = self.show(Service::BlockStorage, &format!("/volumes/{id}"), "volume").await?;
        volume.map(|volume| Ok(read_volume(&volume)?)).transpose()
    }
}

fn read_server(id: InstanceId, server: &Value) -> Result<InstanceState, Error> {
    let fields = object(server)?;
    if fields.get("status").and_then(Value::as_str) == Some(STATUS_OF_DOWN_CELL) {
        return Err(Error::CellOfInstanceDown { id });
    }
    let host = administrators(fields, HOST)?;
    Ok(InstanceState {
        host: text(host),
        vm_state: fields.get(VM_STATE).and_then(text).unwrap_or_default(),
        task_state: fields.get(TASK_STATE).and_then(text),
        is_deleted: false,
    })
}

fn read_volume(volume: &Value) -> Result<VolumeState, Error> {
    Ok(VolumeState { host: text(administrators(object(volume)?, VOLUME_HOST)?) })
}

/// A field that only some roles see. Null where there is nothing to see, absent where the role is missing.
fn administrators<'a>(fields: &'a Map<String, Value>, name: &'static str) -> Result<&'a Value, Error> {
    fields.get(name).ok_or(Error::FieldHidden { name })
}

fn object(value: &Value) -> Result<&Map<String, Value>, Error> {
    value.as_object().ok_or(Error::ApiUnreadable)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use runtime::Entropy;
    use serde_json::json;

    use super::*;

    fn locate(server: &Value) -> Result<Located, Failure> {
        let id = InstanceId::from_uuid(Entropy.uuid());
        Ok(read_server(id, server)?.locate(id)?)
    }

    #[test]
    fn a_server_is_where_the_api_says() {
        let server = json!({"status": "ACTIVE", HOST: "node-1", VM_STATE: "active", TASK_STATE: null});
        assert_eq!(locate(&server).unwrap(), Located::On("node-1".parse().unwrap()));
        let server = json!({"status": "SHELVED_OFFLOADED", HOST: null, VM_STATE: "shelved_offloaded", TASK_STATE: null});
        assert_eq!(locate(&server).unwrap(), Located::Shelved);
        let server =
            json!({"status": "MIGRATING", HOST: "node-1", VM_STATE: "active", TASK_STATE: "migrating"});
        assert_eq!(locate(&server).unwrap(), Located::Migrating { from: "node-1".parse().unwrap() });
    }

    #[test]
    fn what_the_service_identity_does_not_see_is_no_answer() {
        let hidden = locate(&json!({"status": "ACTIVE", VM_STATE: "active"})).unwrap_err();
        assert_eq!(hidden.code, "API_FIELD_HIDDEN");
        let hidden = Failure::from(read_volume(&json!({"id": "x"})).unwrap_err());
        assert!(hidden.code == "API_FIELD_HIDDEN" && hidden.message.contains(VOLUME_HOST), "{hidden}");
    }

    #[test]
    fn a_server_of_a_cell_that_is_down_is_looked_up_again() {
        let down = locate(&json!({"status": "UNKNOWN"})).unwrap_err();
        assert_eq!((down.class, down.code.as_str()), (model::ErrorClass::Transient, "CLOUD_DATABASE_DOWN"));
    }
}
