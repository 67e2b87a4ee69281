//! dmapi's port on the databases of a real Nova and Cinder, and on their APIs: each state of a server, each as both tell it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cloud::{Located, Placement};
use integration_tests::wait;
use model::{ErrorClass, HostName, InstanceId, VolumeId};
use nova_placement::{Databases, OpenstackPlacement, Pools, Rule, Settings};
use openstack_tests::database_user::DatabaseUser;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use runtime::Entropy;

const STATE_MAX: Duration = Duration::from_secs(180);

/// A flavor with more memory than a host has, and less than a quota allows; removed when dropped.
struct HugeFlavor {
    lab: Lab,
    name: String,
}

impl HugeFlavor {
    const MEMORY_MIB: &str = "51000";

    fn create(lab: &Lab) -> Result<Self> {
        let name = format!("holdfast-test-{}", Entropy.uuid().simple());
        lab.admin(
            &["flavor", "create", &name, "--ram", Self::MEMORY_MIB, "--disk", "1", "--vcpus", "1"],
            "",
        )?;
        Ok(Self { lab: lab.clone(), name })
    }
}

impl Drop for HugeFlavor {
    fn drop(&mut self) {
        let _ = self.lab.admin(&["flavor", "delete", &self.name], "");
    }
}

/// The same question to every source.
struct Sources {
    by_name: Vec<(&'static str, OpenstackPlacement)>,
}

impl Sources {
    fn open(lab: &Lab, user: &DatabaseUser) -> Result<Self> {
        let api = openstack::Config::from_variables(lab.admin.clone())?;
        let mut down = user.listed();
        down.nova_api.port = 9;
        down.cinder = Some(down.nova_api.clone());
        let by_name = [
            ("cells listed", Some(user.listed()), None),
            ("cells read", Some(user.read()), None),
            ("API", None, Some(api.clone())),
            ("API as the database is down", Some(down), Some(api)),
        ];
        let open = |(name, databases, api)| Ok((name, OpenstackPlacement::new(settings(databases, api))?));
        Ok(Self { by_name: by_name.into_iter().map(open).collect::<Result<_>>()? })
    }

    async fn assert_located(&self, id: InstanceId, expected: &Located) -> Result<()> {
        for (name, placement) in &self.by_name {
            let located = placement.locate_instance(id).await;
            let located = located.with_context(|| format!("{name}, instance {id}"))?;
            ensure!(located == *expected, "{name} says of instance {id} {located:?}, not {expected:?}");
        }
        Ok(())
    }
}

fn settings(databases: Option<Databases>, api: Option<openstack::Config>) -> Settings {
    let rule = Rule { host_pattern: "*@rbd#*".to_owned(), pool: "ceph-1".parse().unwrap() };
    let pools = Pools { backends: vec![rule], targets: BTreeMap::new(), default: None };
    Settings { databases, api, pools }
}

fn delete_server(project: &Project, server: &str) -> Result<()> {
    project.run(&["server", "delete", server])?;
    wait::until(STATE_MAX, "the server is gone", || {
        let servers = project.json(&["server", "list"])?;
        let is_listed = |row: &serde_json::Value| row["ID"] == server;
        Ok((!servers.as_array().is_some_and(|rows| rows.iter().any(is_listed))).then_some(()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_volumes_are_found_by_databases_and_by_api_in_each_of_their_states() -> Result<()> {
    let lab = Lab::from_env()?;
    let database = lab.database()?.clone();
    let user = DatabaseUser::new(&database);
    user.grant(&user.listed())?;
    user.grant(&user.read())?;
    let sources = Sources::open(&lab, &user)?;
    let project = Project::create(&lab)?;

    let phase = Phase::begin("placement: a server for which there is no host");
    let huge = HugeFlavor::create(&lab)?;
    let image = lab.image.clone();
    let never = ["server", "create", "never", "--image", &image, "--flavor", &huge.name, "--nic", "none"];
    let never: InstanceId = project.create_one(&never)?.parse()?;
    project.wait_for_status(&["server"], &never.to_string(), "ERROR")?;
    drop(huge);
    sources.assert_located(never, &Located::NeverPlaced).await?;
    delete_server(&project, &never.to_string())?;
    sources.assert_located(never, &Located::Deleted).await?;
    sources.assert_located(InstanceId::from_uuid(Entropy.uuid()), &Located::Nowhere).await?;
    drop(phase);

    let phase = Phase::begin("placement: a volume's pool");
    let volume = project.create_one(&["volume", "create", "--size", "1", "placed"])?;
    project.wait_for_status(&["volume"], &volume, "available")?;
    for (name, placement) in &sources.by_name {
        let pool = placement.pool_of_volume(volume.parse()?).await.with_context(|| *name)?;
        assert_eq!(pool.to_string(), "ceph-1", "{name}");
        let unknown = placement.pool_of_volume(VolumeId::from_uuid(Entropy.uuid())).await.unwrap_err();
        assert_eq!(unknown.code, "VOLUME_NOT_FOUND", "{name}: {unknown}");
    }
    drop(phase);

    let phase = Phase::begin("placement: a server that runs");
    let server = project.create_local_server("found")?;
    let id: InstanceId = server.parse()?;
    let shown = lab.admin(&["server", "show", &server, "-f", "value", "-c", "OS-EXT-SRV-ATTR:host"], "")?;
    let host: HostName = shown.trim().parse()?;
    sources.assert_located(id, &Located::On(host)).await?;
    let member = OpenstackPlacement::new(settings(
        None,
        Some(openstack::Config::from_variables(project.environment().clone())?),
    ))?;
    let hidden = member.locate_instance(id).await.unwrap_err();
    assert_eq!((hidden.class, hidden.code.as_str()), (ErrorClass::Permanent, "API_FIELD_HIDDEN"));
    drop(phase);

    let phase = Phase::begin("placement: shelved");
    project.run(&["server", "shelve", &server])?;
    project.wait_for_status(&["server"], &server, "SHELVED_OFFLOADED")?;
    sources.assert_located(id, &Located::Shelved).await?;
    drop(phase);

    let phase = Phase::begin("placement: deleted");
    delete_server(&project, &server)?;
    sources.assert_located(id, &Located::Deleted).await?;
    drop(phase);
    project.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_rights_are_enough_and_no_more() -> Result<()> {
    let lab = Lab::from_env()?;
    let user = DatabaseUser::new(lab.database()?);
    let listed = user.listed();
    let unknown = InstanceId::from_uuid(Entropy.uuid());
    let placement = OpenstackPlacement::new(settings(Some(listed.clone()), None))?;
    let refused = placement.locate_instance(unknown).await.unwrap_err();
    assert_eq!((refused.class, refused.code.as_str()), (ErrorClass::Permanent, "CLOUD_DATABASE_REFUSED"));
    user.grant(&listed)?;
    assert_eq!(placement.locate_instance(unknown).await?, Located::Nowhere);

    let account = &user.account;
    let allowed = user.database.run_as(account, "nova", "SELECT uuid, host FROM instances");
    allowed.context("it reads what it needs")?;
    let denied = [
        ("nova", "SELECT user_data FROM instances"),
        ("nova", "UPDATE instances SET host = host"),
        ("nova", "DELETE FROM instances WHERE id = -1"),
        ("nova", "SELECT * FROM migrations"),
        ("nova_api", "SELECT database_connection FROM cell_mappings"),
        ("nova_api", "UPDATE instance_mappings SET cell_id = cell_id"),
        ("cinder", "SELECT provider_auth FROM volumes"),
        ("cinder", "UPDATE volumes SET host = host"),
    ];
    for (database, sql) in denied {
        let refused = user.database.run_as(account, database, sql).unwrap_err().to_string();
        assert!(refused.contains("command denied"), "{database}: {sql}: {refused}");
    }
    let refused = user.database.run_as(account, "keystone", "SELECT 1").unwrap_err().to_string();
    assert!(refused.contains("Access denied"), "{refused}");
    Ok(())
}
