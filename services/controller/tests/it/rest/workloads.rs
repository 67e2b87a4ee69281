//! Workloads.

use model::{KeepBase, WorkloadId, WorkloadType};
use rest_api::{LooseBool, NewWorkload, NewWorkloadInstance, WorkloadChange};
use serde_json::json;

use super::check_refused;
use super::fixture::{STRANGER, Service};

fn make_new(ids: &[String]) -> NewWorkload {
    let instances = ids.iter().map(|id| NewWorkloadInstance(id.clone())).collect();
    NewWorkload { name: Some("web".to_owned()), instances, ..NewWorkload::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_created_listed_and_shown() {
    let service = Service::start().await;
    let created = service.make_workload("web", 2).await;
    assert_eq!(created.summary.status, "available");
    assert_eq!(created.summary.user_id, "alice");
    assert_eq!(created.instances[0].name, "web-1");
    let listed = service.client.list_workloads().await.unwrap();
    assert_eq!(listed.iter().map(|row| row.id).collect::<Vec<_>>(), [created.summary.id]);
    let shown = service.client.show_workload(created.summary.id).await.unwrap();
    let mut ids: Vec<_> = shown.instances.iter().map(|instance| instance.id).collect();
    ids.sort();
    assert_eq!(ids, service.instances[..2]);
    assert_eq!(shown.summary.created_at.to_string().len(), "2026-01-31T23:59:59.000000".len());
    assert_eq!(shown.jobschedule, json!({"enabled": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_given_at_first_and_changed_later_each_by_itself() {
    let service = Service::start().await;
    let ids: Vec<String> = service.instances[..2].iter().rev().map(ToString::to_string).collect();
    let mut new = make_new(&ids);
    new.metadata.insert("allow_partial".to_owned(), json!("true"));
    new.workload_type_id = Some("f82ce76f-17fe-438b-aa37-7a023058e50d".to_owned());
    let created = service.client.create_workload(new).await.unwrap();
    assert!(created.allow_partial, "as T4O's metadata carry it");
    assert_eq!(created.workload_type, WorkloadType::Serial, "by T4O's id");
    let id = created.summary.id;
    let shown = service.client.show_workload(id).await.unwrap();
    let order: Vec<String> = shown.instances.iter().map(|instance| instance.id.to_string()).collect();
    assert_eq!(order, ids, "the order in which they were named");
    let renamed = WorkloadChange { name: Some("shop".to_owned()), ..WorkloadChange::default() };
    let changed = service.client.change_workload(id, renamed).await.unwrap();
    assert_eq!((changed.summary.name.as_str(), changed.allow_partial), ("shop", true));
    let change = WorkloadChange {
        allow_partial: Some(LooseBool(false)),
        workload_type: Some(WorkloadType::Parallel),
        keep_base: Some(KeepBase::Never),
        ..WorkloadChange::default()
    };
    let changed = service.client.change_workload(id, change).await.unwrap();
    assert_eq!(
        (changed.allow_partial, changed.workload_type, changed.keep_base),
        (false, WorkloadType::Parallel, KeepBase::Never)
    );
    assert_eq!(changed.summary.workload_type_id, "2ddd528d-c9b4-4d7e-8722-cc395140255a");
    let instances =
        WorkloadChange { instances: vec![NewWorkloadInstance(ids[0].clone())], ..WorkloadChange::default() };
    check_refused(service.client.change_workload(id, instances).await, 400, "NOT_SUPPORTED", "instances");
    let unknown = WorkloadId::from_uuid(runtime::Entropy.uuid());
    let outcome = service.client.change_workload(unknown, WorkloadChange::default()).await;
    check_refused(outcome, 404, "WORKLOAD_NOT_FOUND", &unknown.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_belongs_to_one_workload_at_most() {
    let service = Service::start().await;
    service.make_workload("first", 2).await;
    let ids: Vec<String> = service.instances[1..].iter().map(ToString::to_string).collect();
    let outcome = service.client.create_workload(make_new(&ids)).await;
    check_refused(outcome, 409, "INSTANCE_ALREADY_PROTECTED", "workload first");
    assert_eq!(service.client.list_workloads().await.unwrap().len(), 1, "nothing of the second is left");
    let third = make_new(&ids[1..]);
    service.client.create_workload(third).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_makes_no_sense_is_refused() {
    let service = Service::start().await;
    let client = &service.client;
    let id = service.instances[0].to_string();
    check_refused(client.create_workload(make_new(&[])).await, 400, "NO_INSTANCES", "at least one");
    let twice = make_new(&[id.clone(), id.clone()]);
    check_refused(client.create_workload(twice).await, 400, "INSTANCE_DUPLICATE", &id);
    let no_id = make_new(&["web-1".to_owned()]);
    check_refused(client.create_workload(no_id).await, 400, "ID_INVALID", "web-1");
    let unknown = runtime::Entropy.uuid().to_string();
    let outcome = client.create_workload(make_new(std::slice::from_ref(&unknown))).await;
    check_refused(outcome, 400, "INSTANCE_NOT_FOUND", &unknown);
    let elsewhere =
        NewWorkload { backup_target: Some("moon".to_owned()), ..make_new(std::slice::from_ref(&id)) };
    check_refused(client.create_workload(elsewhere).await, 400, "TARGET_NOT_FOUND", "there are: main");
    let long = NewWorkload { name: Some("x".repeat(300)), ..make_new(&[id]) };
    check_refused(client.create_workload(long).await, 400, "NAME_INVALID", "255");
    assert!(client.list_workloads().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_promised_and_not_kept_is_refused() {
    let service = Service::start().await;
    let base = make_new(&[service.instances[0].to_string()]);
    for (new, names) in [
        (
            NewWorkload { jobschedule: json!({"enabled": "True", "interval": "24hrs"}), ..base.clone() },
            "schedule",
        ),
        (NewWorkload { encryption: Some(LooseBool(true)), ..base.clone() }, "encryption"),
        (
            NewWorkload { metadata: [("policy_id".to_owned(), json!("gold"))].into(), ..base.clone() },
            "policy",
        ),
    ] {
        check_refused(service.client.create_workload(new).await, 400, "NOT_SUPPORTED", names);
    }
    let silent = NewWorkload { jobschedule: json!({"enabled": "false"}), ..base };
    service.client.create_workload(silent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_projects_things_are_not_there() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let stranger = service.client_of("other", STRANGER);
    assert!(stranger.list_workloads().await.unwrap().is_empty());
    check_refused(stranger.show_workload(workload).await, 404, "WORKLOAD_NOT_FOUND", &workload.to_string());
    let taken = make_new(&[service.instances[1].to_string()]);
    check_refused(stranger.create_workload(taken).await, 400, "INSTANCE_NOT_FOUND", "");
    let unknown = WorkloadId::from_uuid(runtime::Entropy.uuid());
    check_refused(service.client.show_workload(unknown).await, 404, "WORKLOAD_NOT_FOUND", "workload");
}
