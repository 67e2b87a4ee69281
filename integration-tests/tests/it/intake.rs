//! Another program asks over the bus: the Python example of the documentation, as it is.

use std::process::Command;

use anyhow::{Result, ensure};
use bus_config::Role;
use integration_tests::world::Spec;
use secrecy::ExposeSecret as _;

use crate::fixture::Shop;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/submit_snapshot.py");

fn submit(url: &str, shop: &Shop, key: &str, workload: &str) -> Result<(bool, String)> {
    let output = Command::new("/usr/bin/python3")
        .arg(EXAMPLE)
        .args(["--project", shop.world.spec.project.as_str(), "--workload", workload, "--key", key, "--full"])
        .env("HOLDFAST_INTAKE_URL", url)
        .output()?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

#[test]
fn the_same_key_twice_is_one_job_and_a_senseless_job_is_rejected() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let role = Role::Intake("billing".to_owned());
    let password = shop.world.block_on(shop.world.broker.create_user(&role))?;
    let address = shop.world.broker.amqp_url().replace("amqp://", "");
    let url = format!("amqp://{}:{}@{address}/holdfast", role.user(), password.expose_secret());

    let workload = shop.workload.to_string();
    let (ok, first) = submit(&url, &shop, "invoice-1", &workload)?;
    ensure!(ok && first.starts_with("Accepted"), "{first}\n{}", shop.world.logs());
    let (ok, second) = submit(&url, &shop, "invoice-1", &workload)?;
    ensure!(ok && second.contains("duplicate: true"), "{second}");
    let snapshots = shop.world.block_on(shop.world.client.list_snapshots(Some(shop.workload)))?;
    ensure!(snapshots.len() == 1, "one key made {} snapshots", snapshots.len());
    let snapshot = shop.world.wait_for_snapshot(snapshots[0].id)?;
    ensure!(snapshot.summary.status == "available", "{:?}", snapshot.summary);

    let (ok, unknown) = submit(&url, &shop, "invoice-2", "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f")?;
    ensure!(!ok && unknown.starts_with("Rejected"), "{unknown}");
    Ok(())
}
