//! Real users of a real Keystone before a real controller. But for the last test the instances are of a folder: `[auth]` and
//! `[cloud]` are independent.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::scenario::{CloudDisk, CloudInstance, build_cloud};
use integration_tests::wait;
use integration_tests::world::{CloudSections, Spec, World};
use model::{DiskFormat, InstanceId, ProjectId};
use openstack_tests::lab::Lab;
use openstack_tests::people::People;
use openstack_tests::phase::Phase;
use rest_api::{Client, Endpoint, Error, NewSnapshot, NewWorkload, NewWorkloadInstance};
use runtime::Entropy;
use secrecy::{ExposeSecret as _, SecretString};

/// The cache of tokens lasts 1 s in these tests.
const REVOKED_WITHIN: Duration = Duration::from_secs(30);

/// A Holdfast whose users are those of project `a`.
struct Site {
    world: World,
    people: People,
    instances: Vec<InstanceId>,
    dir: tempfile::TempDir,
}

impl Site {
    /// `alice` and `bob` write, `mia` is a plain member, `root` an administrator; `carol` writes in project `b`.
    fn open() -> Result<Self> {
        Self::open_on(None)
    }

    /// The same, where the controller has another cloud than the folder.
    fn open_on(controller: Option<&str>) -> Result<Self> {
        let lab = Lab::from_env()?;
        let mut people = People::create(&lab)?;
        let role = people.role();
        people.add("alice", "a", &["member", &role])?;
        people.add("bob", "a", &["member", &role])?;
        let dir = tempfile::Builder::new().prefix("holdfast-identity-").tempdir()?;
        let project: ProjectId = people.project_id("a")?.parse()?;
        let root = dir.path().join("world");
        std::fs::create_dir(&root)?;
        let folder = format!("[cloud]\nkind = \"directory\"\npath = {:?}\n", root.join("cloud"));
        let cloud = controller.map(|controller| CloudSections {
            controller: controller.to_owned(),
            dmapi: folder.clone(),
            datamover: folder.clone(),
        });
        let spec = Spec { project, auth: Some(people.auth(dir.path())?), cloud, ..Spec::default() };
        let image = dir.path().join("image.raw");
        std::fs::write(&image, vec![7; 4 << 20])?;
        let disk =
            || vec![CloudDisk { device: "vda".to_owned(), format: DiskFormat::Raw, image: image.clone() }];
        let instances =
            [CloudInstance::new("web-1", "host-a", disk()), CloudInstance::new("db-1", "host-b", disk())];
        let placed = build_cloud(&root.join("cloud"), &spec, &instances)?;
        let world = World::start(&root, spec)?;
        Ok(Self { world, people, instances: placed.iter().map(|one| one.id).collect(), dir })
    }

    fn client(&self, token: &SecretString) -> Result<Client> {
        Ok(Client::new(Endpoint::parse(&self.world.endpoint(), None)?, token)?)
    }

    fn user(&self, name: &str) -> Result<Client> {
        self.client(&self.people.token(name, Some("a"))?)
    }

    fn make_new(&self, name: &str, index: usize) -> NewWorkload {
        let instances = vec![NewWorkloadInstance(self.instances[index].to_string())];
        NewWorkload { name: Some(name.to_owned()), instances, ..NewWorkload::default() }
    }

    fn close(self) -> Result<()> {
        let Self { world, people, dir, .. } = self;
        drop(world);
        drop(dir);
        people.close()
    }
}

#[track_caller]
fn check_refused<T: std::fmt::Debug>(outcome: Result<T, Error>, status: u16, code: &str, names: &[&str]) {
    match outcome {
        Err(Error::Refused { status: got, detail, .. }) => {
            assert_eq!((got, detail.error_code.as_str()), (status, code), "{}", detail.message);
            for name in names {
                assert!(detail.message.contains(name), "{name:?} is not in: {}", detail.message);
            }
        }
        other => panic!("expected {status} {code}, got {other:?}"),
    }
}

#[test]
fn keystone_opens_the_door_to_users_of_the_project_and_only_the_trustee_role_writes() -> Result<()> {
    let phase = Phase::begin("identity: users, and a Holdfast before Keystone");
    let mut site = Site::open()?;
    let role = site.people.role();
    site.people.add("mia", "a", &["member"])?;
    site.people.add("root", "a", &["admin"])?;
    site.people.add("carol", "b", &["member", &role])?;
    drop(phase);

    let phase = Phase::begin("identity: who comes in, and who writes");
    let lacks = format!("lacks role {role} in project");
    let (mia, root) = (site.user("mia")?, site.user("root")?);
    let create = |client: &Client| site.world.block_on(client.create_workload(site.make_new("web", 0)));
    check_refused(create(&mia), 403, "FORBIDDEN", &[&lacks, "-mia"]);
    assert!(site.world.block_on(mia.list_workloads())?.is_empty(), "a member reads");
    check_refused(create(&root), 403, "FORBIDDEN", &[&lacks, "role admin does not replace it"]);
    site.world.block_on(root.show_status()).context("an administrator sees the whole")?;
    assert!(site.people.trusts()?.is_empty(), "who may not write entrusts nobody");
    let carol = site.client(&site.people.token("carol", Some("b"))?)?;
    let project = site.people.project_id("b")?.to_owned();
    check_refused(create(&carol), 403, "PROJECT_MISMATCH", &[&project]);
    let unscoped = site.client(&site.people.token("alice", None)?)?;
    check_refused(create(&unscoped), 403, "TOKEN_UNSCOPED", &[]);
    check_refused(create(&site.client(&"gAAAAABgarbage".to_owned().into())?), 401, "TOKEN_REFUSED", &[]);
    let alice = site.user("alice")?;
    create(&alice)?;
    site.people.end_tokens("alice")?;
    wait::until(REVOKED_WITHIN, "a revoked token is refused", || {
        match site.world.block_on(alice.list_workloads()) {
            Err(Error::Refused { status: 401, .. }) => Ok(Some(())),
            outcome => outcome.map(|_| None).map_err(Into::into),
        }
    })?;
    drop(phase);

    let phase = Phase::begin("identity: a Keystone that is away");
    let config = site.world.places.etc().join("controller.toml");
    let text = std::fs::read_to_string(&config)?;
    let auth_url = text.lines().find(|line| line.starts_with("auth_url")).context("there is no auth_url")?;
    // Port 1 answers nobody.
    std::fs::write(&config, text.replace(auth_url, "auth_url = \"http://127.0.0.1:1/v3\""))?;
    site.world.restart_controller()?;
    let bob = site.user("bob")?;
    check_refused(site.world.block_on(bob.list_workloads()), 503, "KEYSTONE_UNAVAILABLE", &[]);
    drop(phase);
    site.close()
}

#[test]
fn a_trust_is_made_once_and_used_and_revoked_and_made_again() -> Result<()> {
    let phase = Phase::begin("identity: one trust for two workloads, and a snapshot on it");
    let mut site = Site::open()?;
    let role = site.people.role();
    let alice = site.user("alice")?;
    let web = site.world.block_on(alice.create_workload(site.make_new("web", 0)))?.summary.id;
    site.world.block_on(alice.create_workload(site.make_new("shop", 1)))?;
    let made = site.people.trusts()?;
    ensure!(made.len() == 1, "two workloads of a user share one trust: {made:?}");
    site.world.client = alice;
    site.world.take_snapshot(web, true)?;
    drop(phase);

    let phase =
        Phase::begin("identity: its role taken, it is refused in words; with the role it holds again");
    let ask = |site: &Site, client: &Client| {
        site.world
            .block_on(client.create_snapshot(web, true, NewSnapshot::default()))
            .map(|one| one.summary.id)
    };
    let bob = site.user("bob")?;
    site.people.take_role("alice", "a", &role)?;
    check_refused(ask(&site, &bob), 409, "TRUST_REVOKED", &["-alice", "lost a role that it lends", &role]);
    let alice = site.user("alice")?;
    check_refused(ask(&site, &alice), 403, "FORBIDDEN", &[&role]);
    site.people.give_role("alice", "a", &role)?;
    let snapshot = ask(&site, &bob)?;
    site.world.client = site.user("alice")?;
    assert_eq!(site.world.wait_for_snapshot(snapshot)?.summary.status, "available", "{}", site.world.logs());
    assert_eq!(site.people.trusts()?, made, "bob was not asked to entrust anything");
    drop(phase);

    let phase = Phase::begin("identity: revoked by its user, missing for others, made again for him");
    let token = site.people.token("alice", Some("a"))?;
    let cli = |arguments: &[&str]| -> Result<String> {
        let output = site.world.cli(arguments).env("HOLDFAST_TOKEN", token.expose_secret()).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let name = cli(&["trust", "list", "-f", "value", "-c", "name"])?;
    cli(&["trust", "check", "web"])?;
    cli(&["trust", "delete", name.trim()])?;
    assert!(site.people.trusts()?.is_empty(), "it is gone in Keystone too");
    check_refused(ask(&site, &bob), 409, "TRUST_MISSING", &["holdfast trust create"]);
    let alice = site.client(&token)?;
    let snapshot = ask(&site, &alice)?;
    assert_eq!(site.world.wait_for_snapshot(snapshot)?.summary.status, "available", "{}", site.world.logs());
    let anew = site.people.trusts()?;
    assert!(anew.len() == 1 && anew != made, "{anew:?} after {made:?}");
    drop(phase);

    let phase = Phase::begin("identity: the user is deleted");
    site.people.delete_user("alice")?;
    check_refused(ask(&site, &bob), 409, "TRUST_REVOKED", &["-alice", "the user or the project was deleted"]);
    drop(phase);
    site.close()
}

#[test]
fn a_workload_takes_the_instances_of_its_own_project_and_no_others() -> Result<()> {
    let phase = Phase::begin("identity: a server of a project, and a Holdfast on the real cloud");
    let lab = Lab::from_env()?;
    let mut site = Site::open_on(Some("[cloud]\nkind = \"openstack\"\n"))?;
    // Nova would show carol all servers: she is an administrator.
    let role = site.people.role();
    site.people.add("carol", "b", &["member", "admin", &role])?;
    let server = site.people.boot(&lab, "alice", "a")?;
    drop(phase);

    let phase = Phase::begin("identity: whose it is, seen by the trust of who asks");
    let make_new = |id: &str| NewWorkload {
        name: Some("real".to_owned()),
        instances: vec![NewWorkloadInstance(id.to_owned())],
        ..NewWorkload::default()
    };
    let create = |client: &Client, id: &str| site.world.block_on(client.create_workload(make_new(id)));
    let endpoint = site.world.endpoint().replace(site.people.project_id("a")?, site.people.project_id("b")?);
    let carol = Client::new(Endpoint::parse(&endpoint, None)?, &site.people.token("carol", Some("b"))?)?;
    let alice = site.user("alice")?;
    let unknown = Entropy.uuid().to_string();
    check_refused(create(&carol, &server), 400, "INSTANCE_NOT_FOUND", &["there is no instance", &server]);
    check_refused(create(&carol, &unknown), 400, "INSTANCE_NOT_FOUND", &["there is no instance", &unknown]);
    check_refused(create(&alice, &unknown), 400, "INSTANCE_NOT_FOUND", &["there is no instance", &unknown]);
    let workload = create(&alice, &server).with_context(|| site.world.logs())?;
    assert_eq!(workload.instances[0].name, "alice");
    drop(phase);
    site.close()
}
