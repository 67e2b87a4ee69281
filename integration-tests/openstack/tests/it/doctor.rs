//! `holdfast doctor` before a real cloud: all is well, and then one thing after the other is really taken away.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use integration_tests::doctor;
use integration_tests::process::binary;
use model::{ProjectId, Verdict};
use openstack::{Config, Service};
use openstack_tests::account::Account;
use openstack_tests::ceph_user::CephUser;
use openstack_tests::guest::Guest;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::site::Site;
use rest_api::{Client, DoctorCheck, Endpoint};

/// What may be so on any cloud: Holdfast's user of the test sees no user data, and the machine's disk may be almost full.
const ALLOWED: [&str; 2] = ["USER_DATA_HIDDEN", "TARGET_NEARLY_FULL"];

/// Whoever asks, with a token of now.
struct Asker<'a> {
    site: &'a Site,
    environment: std::collections::BTreeMap<String, String>,
}

impl Asker<'_> {
    fn examine(&self) -> Result<Vec<DoctorCheck>> {
        let mut checks = self.examine_all()?;
        checks.retain(|check| !ALLOWED.contains(&check.code.as_str()));
        Ok(checks)
    }

    fn examine_all(&self) -> Result<Vec<DoctorCheck>> {
        let world = &self.site.world;
        world.block_on(async {
            let session = openstack::Session::new(Config::from_variables(self.environment.clone())?)?;
            let project: ProjectId = session.project_id().await?.parse()?;
            let endpoint = Endpoint::parse(&world.client.endpoint().to_string(), Some(&project))?;
            let client = Client::new(endpoint, session.token().await?.secret())?;
            Ok(client.examine(None).await?)
        })
    }

    /// Waits until what is not well has these codes; gives it.
    fn wait_for_codes(&self, expected: &[&str]) -> Result<Vec<DoctorCheck>> {
        doctor::wait_for_codes(expected, || self.examine())
    }
}

/// What is looked at.
const PARTS: [&str; 16] = [
    "service identity",
    "endpoint of compute",
    "endpoint of block-storage",
    "endpoint of network",
    "endpoint of image",
    "instance_mappings",
    "datamover of host",
    "libvirt",
    "instances path",
    "scratch folder",
    ": reading",
    ": writing",
    "qemu's driver for Ceph",
    "guest agent of instance",
    "trust of user",
    "quotas for workload",
];
/// The guest is without its agent from a phase on.
const NO_AGENT: &str = "GUEST_AGENT_ABSENT";

#[test]
fn a_site_is_well_and_what_is_taken_from_it_or_its_users_is_told_by_its_code() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("doctor: a server from a new volume, a Holdfast, and all is well");
    let image = lab.image.clone();
    let server = project.create_volume_server("web", &["--image", &image, "--boot-from-volume", "1"])?;
    let guest = Guest::wait_for(&server)?;
    let site = Site::open(&lab, &project)?;
    site.world.create_workload("web", &[server.parse()?])?;
    let operator = Asker { site: &site, environment: lab.admin.clone() };
    let user = Asker { site: &site, environment: project.environment().clone() };
    operator.wait_for_codes(&[])?;
    let checks = operator.examine()?;
    for part in PARTS {
        ensure!(checks.iter().any(|check| check.check.contains(part)), "nobody looks at {part}: {checks:#?}");
    }
    let own = user.wait_for_codes(&[]).and_then(|_| user.examine())?;
    ensure!(own.iter().all(|check| check.service == "project" && check.host.is_empty()), "{own:#?}");
    ensure!(own.iter().any(|check| check.check.contains("guest agent")), "{own:#?}");
    let all = operator.examine_all()?;
    let hidden = all.iter().find(|check| check.code == "USER_DATA_HIDDEN").context("a member sees none")?;
    let says = |word: &str| hidden.message.contains(word);
    ensure!(
        hidden.result == Verdict::Warn && says("policy os_compute_api:os-extended-server-attributes"),
        "{hidden:#?}"
    );
    drop(phase);
    take_driver(&site)?;
    take_quota(&lab, &project, &operator, &user)?;
    take_right(&lab, &operator)?;

    let phase = Phase::begin("doctor: an agent that hangs, and is gone from the guest");
    let console = guest.type_line("kill -STOP $(pidof qemu-ga)")?;
    let found = operator.wait_for_codes(&["GUEST_AGENT_SILENT"])?;
    ensure!(
        found[0].result == Verdict::Warn && found[0].message.contains("start qemu-guest-agent"),
        "{found:#?}"
    );
    ensure!(!found[0].message.contains("virsh"), "in words of ours: {found:#?}");
    drop(console);
    // Its init would start it again: the program goes first.
    let console =
        guest.type_line("mv /usr/sbin/qemu-ga /usr/sbin/qemu-ga.away && kill -KILL $(pidof qemu-ga)")?;
    let found = operator.wait_for_codes(&[NO_AGENT])?;
    ensure!(found[0].result == Verdict::Warn && found[0].message.contains("qemu-guest-agent"), "{found:#?}");
    user.wait_for_codes(&[NO_AGENT])?;
    drop((console, phase));
    take_trust(&lab, &project, &operator, &user)?;
    site.close()?;
    project.close()
}

/// The modules of qemu are hidden from one process, in a file system of its own.
fn take_driver(site: &Site) -> Result<()> {
    let _phase = Phase::begin("doctor: a qemu without its driver for Ceph");
    let host = site.world.datamovers.keys().next().context("there is a host")?;
    let config = site.world.places.etc().join(format!("datamover-{host}.toml"));
    let empty = tempfile::tempdir()?;
    let script = "mount --bind \"$1\" /usr/lib/x86_64-linux-gnu/qemu && exec \"$2\" --config \"$3\" --check";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(empty.path());
    let output = command.arg(binary("holdfast-datamover")?).arg(config).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let bad: Vec<&str> = text.lines().filter(|line| line.starts_with("fail")).collect();
    ensure!(output.status.code() == Some(1) && bad.len() == 1, "{text} {output:?}");
    ensure!(bad[0].contains("QEMU_NBD_DRIVER_MISSING") && bad[0].contains("qemu-block-extra"), "{text}");
    Ok(())
}

fn take_quota(lab: &Lab, project: &Project, operator: &Asker<'_>, user: &Asker<'_>) -> Result<()> {
    let _phase = Phase::begin("doctor: a quota of nothing");
    let name = &project.environment()["OS_PROJECT_NAME"];
    lab.admin(&["quota", "set", "--snapshots", "0", name], "")?;
    let found = operator.wait_for_codes(&["QUOTA_TOO_SMALL"])?;
    ensure!(found[0].message.contains("1 volume snapshots are needed, 0 of 0"), "{found:#?}");
    user.wait_for_codes(&["QUOTA_TOO_SMALL"])?;
    lab.admin(&["quota", "set", "--snapshots", "10", name], "")?;
    operator.wait_for_codes(&[])?;
    Ok(())
}

fn take_right(lab: &Lab, operator: &Asker<'_>) -> Result<()> {
    let _phase = Phase::begin("doctor: a right in Nova's database");
    let (revoked, granted) = operator.site.database_right("nova", "instances");
    lab.database()?.run(&revoked)?;
    let found = operator.wait_for_codes(&["CLOUD_DATABASE_REFUSED", "CLOUD_DATABASE_RIGHT_MISSING"])?;
    let missing = found.iter().find(|check| check.code == "CLOUD_DATABASE_RIGHT_MISSING").context("it is")?;
    ensure!(missing.message.contains("GRANT SELECT (uuid, host,"), "{found:#?}");
    lab.database()?.run(&granted)?;
    operator.wait_for_codes(&[])?;
    Ok(())
}

fn take_trust(lab: &Lab, project: &Project, operator: &Asker<'_>, user: &Asker<'_>) -> Result<()> {
    let _phase = Phase::begin("doctor: a role that the trust lends, the user, the trust");
    let (name, who) = (&project.environment()["OS_PROJECT_NAME"], &project.environment()["OS_USERNAME"]);
    let swap = format!(
        "role add --project {name} --user {who} reader\nrole remove --project {name} --user {who} member\n"
    );
    lab.admin(&[], &swap)?;
    let found = operator.wait_for_codes(&[NO_AGENT, "TRUST_ROLE_LOST"])?;
    let says = |check: &DoctorCheck| check.message.contains("lost what the trust lends: member");
    ensure!(found.iter().any(says), "{found:#?}");
    user.wait_for_codes(&[NO_AGENT, "TRUSTEE_ROLE_MISSING", "TRUST_ROLE_LOST"])?;
    lab.admin(&["role", "add", "--project", name, "--user", who, "member"], "")?;
    operator.wait_for_codes(&[NO_AGENT])?;
    lab.admin(&["user", "set", "--disable", who], "")?;
    operator.wait_for_codes(&[NO_AGENT, "TRUST_USER_DISABLED"])?;
    lab.admin(&["user", "set", "--enable", who], "")?;
    operator.wait_for_codes(&[NO_AGENT])?;
    for trust in operator.site.trusts()? {
        lab.admin(&["trust", "delete", &trust], "")?;
    }
    operator.wait_for_codes(&[NO_AGENT, "TRUST_GONE"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_leads_astray_and_an_identity_without_its_role_are_told_apart() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let codes = async |config: Config| -> Result<Vec<String>> {
        let checks = openstack_cloud::examine(&openstack::Session::new(config)?).await;
        Ok(checks.into_iter().map(|check| check.code).filter(|code| !code.is_empty()).collect())
    };
    let config = || Config::from_variables(project.environment().clone());
    assert_eq!(codes(config()?).await?, ["SERVICE_ROLE_MISSING"], "a member's endpoints are all well");

    let keystone = Account::of(&project).await?.session.endpoint(Service::Identity).await?;
    let mut astray = config()?;
    astray.endpoints.insert(Service::Compute, keystone);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    astray.endpoints.insert(Service::Network, format!("http://{nobody}/").parse()?);
    assert_eq!(codes(astray).await?, ["SERVICE_ROLE_MISSING", "ENDPOINT_WRONG", "ENDPOINT_UNREACHABLE"]);

    let mut elsewhere = config()?;
    elsewhere.region = Some("Nowhere".to_owned());
    let missing = codes(elsewhere).await?;
    assert_eq!(missing.iter().filter(|code| *code == "OPENSTACK_ENDPOINT_MISSING").count(), 4, "{missing:?}");

    let mut environment = project.environment().clone();
    environment.insert("OS_PASSWORD".to_owned(), "wrong".to_owned());
    assert_eq!(codes(Config::from_variables(environment)?).await?, ["SERVICE_IDENTITY_REFUSED"]);
    project.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_of_ceph_may_not_do_is_told_with_the_command_that_gives_it() -> Result<()> {
    let lab = Lab::from_env()?;
    let pool = &lab.ceph.pool;
    for (caps, expected) in [
        (format!("profile rbd pool={pool}"), &[][..]),
        (format!("profile rbd-read-only pool={pool}"), &["CEPH_WRITE_DENIED"][..]),
        ("profile rbd pool=none-of-ours".to_owned(), &["CEPH_READ_DENIED"][..]),
    ] {
        let user = CephUser::make(&lab, &caps)?;
        let found = libvirt_host::examine(&user.host_settings(pool)?).await;
        let found: Vec<_> = found.iter().filter(|check| check.code.starts_with("CEPH")).collect();
        let codes: Vec<_> = found.iter().map(|check| check.code.as_str()).collect();
        assert_eq!(codes, expected, "{caps}: {found:?}");
        assert!(found.iter().all(|check| check.message.contains("ceph auth caps client.")), "{found:?}");
    }
    let user = CephUser::make(&lab, &format!("profile rbd pool={pool}"))?;
    let found = libvirt_host::examine(&user.host_settings("none-of-ours")?).await;
    assert!(found.iter().any(|check| check.code == "CEPH_POOL_MISSING"), "{found:?}");
    let mut settings = user.host_settings(pool)?;
    settings.clusters[0].user = "holdfast-test-nobody".to_owned();
    let found = libvirt_host::examine(&settings).await;
    assert!(found.iter().any(|check| check.code == "CEPH_UNREACHABLE"), "a user without a key: {found:?}");
    Ok(())
}
