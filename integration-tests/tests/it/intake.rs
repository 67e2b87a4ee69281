//! Another program asks over the bus: the Python example of the documentation, as it is.

use anyhow::{Result, ensure};
use bus_config::Role;
use integration_tests::world::Spec;
use secrecy::SecretString;

use crate::fixture::Shop;

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
    let role = Role::Intake("billing".to_owned());
    let password = shop.world.block_on(shop.world.broker.create_user(&role))?;
    let workload = shop.workload.to_string();
    let (ok, first) = submit(&shop, &role, &password, "invoice-1", &workload)?;
    ensure!(ok && first.starts_with("Accepted"), "{first}\n{}", shop.world.logs());
    let (ok, second) = submit(&shop, &role, &password, "invoice-1", &workload)?;
    ensure!(ok && second.contains("duplicate: true"), "{second}");
    let snapshots = shop.world.block_on(shop.world.client.list_snapshots(Some(shop.workload)))?;
    ensure!(snapshots.len() == 1, "one key made {} snapshots", snapshots.len());
    let snapshot = shop.world.wait_for_snapshot(snapshots[0].id)?;
    ensure!(snapshot.summary.status == "available", "{:?}", snapshot.summary);

    let (ok, unknown) = submit(&shop, &role, &password, "invoice-2", "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f")?;
    ensure!(!ok && unknown.starts_with("Rejected"), "{unknown}");
    Ok(())
}
