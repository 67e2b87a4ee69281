//! Another program asks over the bus: the Python example of the documentation, as it is.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bus_config::{Class, Permissions, Role, VHOST, queue};
use integration_tests::wait;
use integration_tests::world::Spec;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::fixture::Shop;

const RAW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/raw.py");
const DEADLINE: Duration = Duration::from_secs(60);

fn submit(
    shop: &Shop,
    role: &Role,
    password: &SecretString,
    key: &str,
    workload: &str,
) -> Result<(bool, String)> {
    let output = shop.python_publisher(role, password, key, workload).output()?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

#[test]
fn the_same_key_twice_is_one_job_and_a_senseless_job_is_rejected() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let role = Role::Intake("billing".to_owned(), model::JobKind::ALL.to_vec());
    let password = shop.world.block_on(shop.world.broker.create_user(&role))?;
    let workload = shop.workload.to_string();
    let (ok, first) = submit(&shop, &role, &password, "invoice-1", &workload)?;
    ensure!(ok && first.starts_with("Accepted"), "{first}\n{}", shop.world.logs());
    let (ok, second) = submit(&shop, &role, &password, "invoice-1", &workload)?;
    ensure!(ok && second.contains("duplicate: true"), "{second}");
    let mut in_json = shop.python_publisher(&role, &password, "invoice-1", &workload);
    let third = String::from_utf8(in_json.arg("--json").output()?.stdout)?;
    let answer: Value = serde_json::from_str(third.strip_prefix("Accepted ").context(third.clone())?)?;
    ensure!(
        answer["duplicate"] == true && first.contains(answer["jobId"].as_str().unwrap_or("?")),
        "{third}"
    );
    let snapshots = shop.world.block_on(shop.world.client.list_snapshots(Some(shop.workload)))?;
    ensure!(snapshots.len() == 1, "one key made {} snapshots", snapshots.len());
    let snapshot = shop.world.wait_for_snapshot(snapshots[0].id)?;
    ensure!(snapshot.summary.status == "available", "{:?}", snapshot.summary);

    let (ok, unknown) = submit(&shop, &role, &password, "invoice-2", "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f")?;
    ensure!(!ok && unknown.starts_with("Rejected"), "{unknown}");
    Ok(())
}

/// Runs the raw publisher; gives one line of JSON for each message.
fn raw(
    shop: &Shop,
    args: &[&str],
    role: &Role,
    password: &SecretString,
    messages: &Value,
) -> Result<Vec<Value>> {
    let address = shop.world.broker.amqp_url().replace("amqp://", "");
    let url = format!("amqp://{}:{}@{address}/{VHOST}", role.user(), password.expose_secret());
    let mut child = Command::new("/usr/bin/python3")
        .arg(RAW)
        .arg(args[0])
        .arg(url)
        .args(&args[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("piped")?.write_all(messages.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{} {args:?}", output.status);
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// A snapshot of the shop's workload as JSON, with other fields than usual.
fn snapshot_job(shop: &Shop, changes: &Value) -> Value {
    let mut body = json!({
        "idempotencyKey": "k-1",
        "projectId": shop.world.spec.project,
        "snapshotWorkload": { "workloadId": shop.workload },
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    json!({ "key": "job.snapshot", "body": body.to_string(), "properties": { "content_type": "application/json" } })
}

/// Checks that a job came back as rejected, in JSON, with this code and a text that names the thing.
#[track_caller]
fn assert_rejected(answer: &Value, code: &str, names: &str) {
    assert_eq!(answer["type"], "holdfast.intake.v1.Rejected", "{answer}");
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or_default();
    assert_eq!(body["error"]["code"], code, "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains(names)), "{body}");
}

#[test]
fn a_service_may_submit_what_it_was_granted_and_nothing_happens_on_anything_else() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let make = |name: &str| -> Result<(Role, SecretString)> {
        let role = Role::Intake(name.to_owned(), model::JobKind::ALL.to_vec());
        let password = shop.world.block_on(shop.world.broker.create_user(&role))?;
        Ok((role, password))
    };
    let (cloud, target) = (shop.cloud_ledger()?, shop.target_ledger()?);
    let (billing, billing_password) = make("billing")?;
    let (stranger, stranger_password) = make("stranger")?;
    let restore = json!({ "snapshotWorkload": null, "restoreSnapshot": { "snapshotId": shop.workload } });

    let refused = raw(
        &shop,
        &["publish"],
        &billing,
        &billing_password,
        &json!([
            snapshot_job(&shop, &json!({ "projectId": "another" })),
            snapshot_job(&shop, &restore),
            snapshot_job(&shop, &json!({ "snapshotWorkload": null })),
            snapshot_job(&shop, &json!({ "idempotencyKey": "" })),
            snapshot_job(&shop, &json!({ "projectId": "*" })),
        ]),
    )?;
    assert_rejected(&refused[0], "INTAKE_NOT_GRANTED", "kind snapshot for project another");
    assert_rejected(&refused[1], "INTAKE_NOT_GRANTED", "kind restore for project demo");
    assert_rejected(&refused[2], "JOB_MISSING", "say what to do");
    assert_rejected(&refused[3], "IDEMPOTENCY_KEY_INVALID", "1 to 128 bytes");
    assert_rejected(&refused[4], "JOB_INVALID", "project_id");
    let good = json!([snapshot_job(&shop, &json!({}))]);
    let foreign = raw(&shop, &["publish"], &stranger, &stranger_password, &good)?;
    assert_rejected(&foreign[0], "INTAKE_NOT_GRANTED", "service \"stranger\"");
    // It may not say that it is somebody else: the broker closes its channel.
    let mut forged = snapshot_job(&shop, &json!({}));
    forged["properties"]["user_id"] = json!(billing.user());
    let forged = raw(&shop, &["publish"], &stranger, &stranger_password, &json!([forged]))?;
    ensure!(forged[0]["type"] == "refused" && forged[0]["code"] == 406, "{forged:?}");

    let snapshots = || shop.world.block_on(shop.world.client.list_snapshots(None));
    ensure!(
        snapshots()?.is_empty() && shop.world.block_on(shop.world.client.list_restores(None))?.is_empty()
    );
    let difference = cloud.difference(&shop.cloud_ledger()?);
    ensure!(difference.is_empty() && shop.target_ledger()? == target, "something happened: {difference:?}");
    let taken = raw(&shop, &["publish"], &billing, &billing_password, &good)?;
    ensure!(taken[0]["type"] == "holdfast.intake.v1.Accepted", "{taken:?}\n{}", shop.world.logs());
    ensure!(taken[0]["content_type"] == "application/json", "{taken:?}");
    ensure!(snapshots()?.len() == 1);
    Ok(())
}

#[test]
fn what_cannot_be_read_is_rejected_and_kept_among_the_dead_letters_with_its_reason() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let role = Role::Intake("billing".to_owned(), model::JobKind::ALL.to_vec());
    let password = shop.world.block_on(shop.world.broker.create_user(&role))?;
    let with = |name: &str, value: Value| {
        let mut job = snapshot_job(&shop, &json!({}));
        job[name] = value;
        job
    };
    let doubled = r#"{"idempotencyKey":"k","projectId":"demo","projectId":"other","snapshotWorkload":{}}"#;
    let with_properties = |properties: Value| {
        let mut job = with("answer", json!(false));
        job["properties"] = properties;
        job
    };
    let answers = raw(
        &shop,
        &["publish"],
        &role,
        &password,
        &json!([
            snapshot_job(&shop, &json!({ "snapshotWorklod": {} })),
            with("body", json!(doubled)),
            snapshot_job(&shop, &json!({ "snapshotWorkload": { "full": "yes" } })),
            with_properties(json!({ "content_type": "text/plain" })),
            with_properties(json!({ "content_type": "application/json", "user_id": null })),
            json!({ "key": "job.snapshot", "body": "x", "times": 300_000, "answer": false,
                "properties": { "content_type": "application/json" } }),
        ]),
    )?;
    assert_rejected(&answers[0], "UNDECODABLE", "snapshotWorklod");
    assert_rejected(&answers[1], "UNDECODABLE", "duplicate field");
    assert_rejected(&answers[2], "UNDECODABLE", "invalid type");

    // Nobody but the controller may take dead letters: this one is made for the test.
    let (reader, reader_password) = (
        Role::Intake("reader".to_owned(), model::JobKind::ALL.to_vec()),
        SecretString::from("only-for-this-test"),
    );
    let read = Permissions {
        configure: "^$".to_owned(),
        write: "^$".to_owned(),
        read: r"^holdfast\.q\.dead\.".to_owned(),
    };
    let admin = shop.world.broker.admin();
    shop.world.block_on(admin.put_user(&reader.user(), &reader_password, &[]))?;
    shop.world.block_on(admin.put_permissions(&reader.user(), &read))?;
    let dead = queue::dead(Class::Intake);
    wait::until(DEADLINE, "six dead letters", || {
        let queues = shop.world.block_on(shop.world.broker.queues())?;
        Ok(queues.iter().any(|queue| queue.name == dead && queue.messages_ready == 6).then_some(()))
    })
    .with_context(|| shop.world.logs())?;
    let mut reasons: Vec<String> = raw(&shop, &["take", &dead], &reader, &reader_password, &json!([]))?
        .iter()
        .map(|headers| headers["holdfast-dead-reason"].as_str().unwrap_or_default().to_owned())
        .collect();
    reasons.sort();
    let expected = [
        ("BODY_TOO_LARGE", "300000"),
        ("NO_USER_ID", "user_id"),
        ("UNDECODABLE", "content type \"text/plain\""),
        ("UNDECODABLE", "duplicate field `project_id`"),
        ("UNDECODABLE", "invalid type: string \"yes\""),
        ("UNDECODABLE", "unknown field `snapshotWorklod`"),
    ];
    for (reason, (code, names)) in reasons.iter().zip(expected) {
        ensure!(reason.starts_with(code) && reason.contains(names), "{code} {names}: {reasons:#?}");
    }
    ensure!(shop.world.block_on(shop.world.client.list_snapshots(None))?.is_empty());
    Ok(())
}

#[test]
fn a_service_enrolled_for_one_kind_may_not_even_publish_another() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let enrolment = bus_config::Enrolment {
        service: "billing".parse()?,
        kinds: vec![model::JobKind::Restore],
        subscription: bus_config::Subscription::Projects(Vec::new()),
    };
    let password = SecretString::from("only-for-this-test");
    shop.world.block_on(shop.world.broker.admin().enroll_service(&enrolment, &password))?;
    let role = Role::Intake("billing".to_owned(), model::JobKind::ALL.to_vec());
    let refused = raw(&shop, &["publish"], &role, &password, &json!([snapshot_job(&shop, &json!({}))]))?;
    ensure!(refused[0]["type"] == "refused" && refused[0]["code"] == 403, "{refused:?}");
    ensure!(shop.world.block_on(shop.world.client.list_snapshots(None))?.is_empty());
    Ok(())
}
