//! Restores.

use model::SnapshotId;
use rest_api::{Error, NewRestore, NewSnapshot, Restore, RestoreOptions};
use serde_json::{Value, json};

use super::check_refused;
use super::fixture::Service;

async fn restore(service: &Service, snapshot: SnapshotId, options: Value) -> Result<Restore, Error> {
    let options: RestoreOptions = serde_json::from_value(options).unwrap();
    service.client.create_restore(snapshot, NewRestore { options, ..NewRestore::default() }).await
}

fn selective(instances: Value) -> Value {
    json!({"oneclickrestore": false, "restore_type": "selective", "name": "from options", "openstack": {"instances": instances}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_oneclick_restore_waits_until_the_originals_are_gone() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 2).await.summary.id;
    let snapshot = service.make_snapshot(workload, "nightly").await.summary.id;
    let oneclick = json!({"oneclickrestore": "True"});
    service.delete_instance("web-1");
    check_refused(restore(&service, snapshot, oneclick.clone()).await, 409, "ORIGINAL_EXISTS", "web-2");
    service.delete_instance("web-2");
    let restore = restore(&service, snapshot, oneclick).await.unwrap();
    assert_eq!(restore.summary.status, "restoring");
    assert_eq!(restore.summary.restore_type, "restore");
    assert_eq!(restore.summary.size, 2 << 20);
    let mut names: Vec<_> = restore.instances.iter().map(|instance| instance.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["web-1", "web-2"]);
    assert_eq!(service.client.list_restores(Some(snapshot)).await.unwrap().len(), 1);
    assert_eq!(service.client.show_restore(restore.summary.id).await.unwrap().summary.id, restore.summary.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selective_restore_takes_the_chosen_under_new_names() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 3).await.summary.id;
    let snapshot = service.make_snapshot(workload, "nightly").await.summary.id;
    let [first, second, third] = [0, 1, 2].map(|index| service.instances[index].to_string());
    let chosen = json!([
        {"id": first, "include": true, "name": "copy", "flavor": {"vcpus": 4}, "nics": []},
        {"id": second, "include": false, "name": "never"},
    ]);
    let restore = restore(&service, snapshot, selective(chosen)).await.unwrap();
    assert_eq!(restore.instances.len(), 1);
    assert_eq!(restore.instances[0].name, "copy");
    assert_eq!(restore.instances[0].metadata["instance_id"], first);
    assert_eq!(restore.summary.name, "from options");
    let warning = restore.summary.warning_msg.unwrap();
    assert!(warning.contains("flavor") && !warning.contains("nics"), "{warning}");
    assert_eq!(restore.summary.restore_options["openstack"]["instances"][1]["id"], second);
    assert!(!restore.instances.iter().any(|instance| instance.metadata["instance_id"] == third));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_that_cannot_work_is_refused() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 2).await.summary.id;
    let snapshot = service.make_snapshot(workload, "nightly").await.summary.id;
    let [first, second, outside] = [0, 1, 2].map(|index| service.instances[index].to_string());
    for (instances, code, names) in [
        (json!([]), "RESTORE_SELECTION_EMPTY", "at least one"),
        (json!([{"id": first, "include": "False"}]), "RESTORE_SELECTION_EMPTY", "at least one"),
        (json!([{"id": outside}]), "INSTANCE_NOT_IN_SNAPSHOT", outside.as_str()),
        (json!([{"id": first}, {"id": first, "name": "b"}]), "INSTANCE_DUPLICATE", first.as_str()),
        (json!([{"id": first, "name": "a"}, {"id": second, "name": "a"}]), "NAME_DUPLICATE", "\"a\""),
        (json!([{"id": "web-1"}]), "ID_INVALID", "web-1"),
    ] {
        check_refused(restore(&service, snapshot, selective(instances)).await, 400, code, names);
    }
    for (options, code) in [
        (json!({"restore_type": "inplace"}), "NOT_SUPPORTED"),
        (json!({"restore_type": "sideways"}), "RESTORE_TYPE_INVALID"),
        (json!({"restore_type": "selective", "openstack": {"restore_topology": true}}), "NOT_SUPPORTED"),
    ] {
        check_refused(restore(&service, snapshot, options).await, 400, code, "");
    }
    assert!(service.client.list_restores(None).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_available_snapshot_is_restored() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let running = service.client.create_snapshot(workload, true, NewSnapshot::default()).await.unwrap();
    let id = running.summary.id;
    let chosen = || selective(json!([{"id": service.instances[0].to_string(), "name": "copy"}]));
    check_refused(restore(&service, id, chosen()).await, 409, "SNAPSHOT_NOT_AVAILABLE", "wait");
    service.fail(id, "TARGET_FULL", "the target is full").await;
    check_refused(restore(&service, id, chosen()).await, 409, "SNAPSHOT_NOT_AVAILABLE", "is error");
    let failed = service.client.show_snapshot(id).await.unwrap();
    assert_eq!(failed.summary.error_code.as_deref(), Some("TARGET_FULL"));
    let unknown = SnapshotId::from_uuid(runtime::Entropy.uuid());
    check_refused(
        restore(&service, unknown, chosen()).await,
        404,
        "SNAPSHOT_NOT_FOUND",
        &unknown.to_string(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_restore_can_be_cancelled() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let snapshot = service.make_snapshot(workload, "nightly").await.summary.id;
    let chosen = selective(json!([{"id": service.instances[0].to_string(), "name": "copy"}]));
    let running = restore(&service, snapshot, chosen).await.unwrap();
    assert_eq!(service.client.show_snapshot(snapshot).await.unwrap().summary.status, "restoring");
    service.client.cancel_restore(running.summary.id).await.unwrap();
    let saga = service.client.show_saga(running.summary.saga_id).await.unwrap();
    assert!(matches!(saga.summary.phase.as_str(), "backward" | "compensated"), "{:?}", saga.summary);
}
