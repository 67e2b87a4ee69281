//! A whole Holdfast before the real cloud, for one project: a broker and a catalog of its own, and each service with the driver
//! of an OpenStack. It leaves nothing behind.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use integration_tests::config::Timing;
use integration_tests::process::RunAs;
use integration_tests::readback::assert_kept;
use integration_tests::world::{CloudSections, Spec, World, give};
use model::{HostName, Owner};
use rest_api::{Client, Snapshot};
use secrecy::{ExposeSecret as _, SecretString};

use crate::account::Account;
use crate::database_user::DatabaseUser;
use crate::hypervisor::{LocalDisk, copy_file};
use crate::lab::Lab;
use crate::people::People;
use crate::project::Project;
use crate::scratch::{ScratchFolder, SmallScratch};

/// What a member of a project needs to ask for jobs here.
const TRUSTEE_ROLE: &str = "member";

/// Bases are looked at soon enough to be waited for, and seldom enough to be no load.
const QUICK: Timing = Timing { base_look_ms: 3_000, ..Timing::quick() };

/// How fast bytes move, and how long a step is waited for.
#[derive(Debug, Clone, Copy, Default)]
pub enum Pace {
    #[default]
    Full,
    /// Slow enough to act in the middle of a transfer. A step that gets no answer is given up after a minute.
    Slow { rate_mib_per_s: u64 },
}

impl Pace {
    const fn rate(self) -> Option<u64> {
        match self {
            Self::Full => None,
            Self::Slow { rate_mib_per_s } => Some(rate_mib_per_s),
        }
    }

    const fn timing(self) -> Timing {
        match self {
            Self::Full => QUICK,
            // Patient with what users have under way: a hard reboot takes half a minute here.
            Self::Slow { .. } => {
                Timing { step_deadline_max_ms: 60_000, retry_base_ms: 2_000, retry_cap_ms: 20_000, ..QUICK }
            }
        }
    }
}

/// The services, and who they are in the cloud.
#[derive(Debug)]
pub struct Site {
    pub world: World,
    people: People,
    /// Of dmapi; it goes with us.
    database_user: DatabaseUser,
    scratch: ScratchFolder,
    dir: tempfile::TempDir,
}

impl Site {
    /// Starts it; its user is the project's.
    pub fn open(lab: &Lab, project: &Project) -> Result<Self> {
        Self::open_with(lab, project, Manner::default())
    }

    /// With transfers of that pace.
    pub fn open_at(lab: &Lab, project: &Project, pace: Pace) -> Result<Self> {
        Self::open_with(lab, project, Manner { pace, ..Manner::default() })
    }

    /// With a `[notifications]` of the controller.
    pub fn open_telling(lab: &Lab, project: &Project, notifications: String) -> Result<Self> {
        let notifications = Some(notifications);
        Self::open_with(lab, project, Manner { notifications, ..Manner::default() })
    }

    /// As Nova's own account, as an operator does, with what `docs/operations.md` says that it needs.
    pub fn open_as_nova(lab: &Lab, project: &Project) -> Result<Self> {
        let groups = ["kvm", "libvirt"].map(str::to_owned).to_vec();
        let run_as = Some(RunAs { user: "nova".to_owned(), groups });
        Self::open_with(lab, project, Manner { run_as, ..Manner::default() })
    }

    fn open_with(lab: &Lab, project: &Project, manner: Manner) -> Result<Self> {
        let Manner { pace, notifications, run_as } = manner;
        let (owner, token) = log_in(project)?;
        let people = People::create(lab)?;
        let dir = tempfile::Builder::new().prefix("holdfast-site-").tempdir()?;
        let database_user = DatabaseUser::new(lab.database()?);
        database_user.grant(&database_user.read())?;
        let scratch = ScratchFolder::make(None)?;
        let cloud = CloudSections {
            controller: "[cloud]\nkind = \"openstack\"\n".to_owned(),
            dmapi: dmapi_section(&database_user, dir.path())?,
            datamover: datamover_section(lab, &scratch, &ceph_conf(lab, run_as.as_ref(), dir.path())?),
        };
        let spec = Spec {
            hosts: vec![compute_host(lab)?],
            project: owner.project_id,
            auth: Some(people.auth_with(dir.path(), TRUSTEE_ROLE)?),
            cloud: Some(cloud),
            notifications,
            rate_limit_mib_per_s: pace.rate(),
            timing: pace.timing(),
            run_as,
            ..Spec::default()
        };
        if let Some(run_as) = &spec.run_as {
            give(dir.path(), run_as)?;
        }
        let mut world = World::start(&dir.path().join("world"), spec)?;
        world.client = Client::new(world.client.endpoint().clone(), &token)?;
        world.token = token;
        Ok(Self { world, people, database_user, scratch, dir })
    }

    /// The statements that take dmapi's right to a table of a cell, and give it back.
    #[must_use]
    pub fn database_right(&self, database: &str, table: &str) -> (String, String) {
        let right = format!("SELECT (uuid, host, vm_state, task_state, deleted) ON `{database}`.`{table}`");
        let user = format!("'{}'@'%'", self.database_user.account.user);
        (format!("REVOKE {right} FROM {user}"), format!("GRANT {right} TO {user}"))
    }

    /// The ids of the trusts that its service identity was given.
    pub fn trusts(&self) -> Result<Vec<String>> {
        self.people.trusts()
    }

    /// Lets the user log in again: the cloud ended the token that there was.
    pub fn renew_token(&mut self, project: &Project) -> Result<()> {
        let (_, token) = log_in(project)?;
        self.world.client = Client::new(self.world.client.endpoint().clone(), &token)?;
        self.world.token = token;
        Ok(())
    }

    /// The folder of its scratch files.
    #[must_use]
    pub fn scratch_path(&self) -> &Path {
        self.scratch.path()
    }

    /// The files that hold old blocks of running disks.
    pub fn scratch_files(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(self.scratch.path())?;
        Ok(entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_, _>>()?)
    }

    /// Leaves so many MiB for old blocks, until the answer is dropped.
    pub fn shrink_scratch(&self, size_mib: u32) -> Result<SmallScratch> {
        self.scratch.shrink(size_mib)
    }

    /// What a snapshot has of the local disk of a server is what is in its file. The server does not run meanwhile.
    pub fn assert_local_disk_kept(&self, lab: &Lab, snapshot: &Snapshot, server: &str) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let witness = folder.path().join("witness");
        copy_file(&LocalDisk::of(lab, server)?.path, &witness)?;
        let instance = snapshot.instances.iter().find(|instance| instance.id.to_string() == server);
        let disks = instance.into_iter().flat_map(|instance| &instance.vdisks);
        let disk = disks.into_iter().find(|disk| disk.volume_id.is_none());
        assert_kept(&self.world, snapshot, disk.context("the snapshot has its local disk")?, &witness)
    }

    /// Stops it, and removes whom it was.
    pub fn close(self) -> Result<()> {
        let Self { world, people, scratch, dir, .. } = self;
        drop(world);
        drop((scratch, dir));
        people.close()
    }
}

/// How it is run.
#[derive(Debug, Default)]
struct Manner {
    pace: Pace,
    notifications: Option<String>,
    run_as: Option<RunAs>,
}

fn log_in(project: &Project) -> Result<(Owner, SecretString)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let account = Account::of(project).await?;
        Ok((account.owner.clone(), account.session.token().await?.secret().clone()))
    })
}

/// The only one, as Nova calls it.
fn compute_host(lab: &Lab) -> Result<HostName> {
    let arguments = ["compute", "service", "list", "--service", "nova-compute", "-f", "value", "-c", "Host"];
    let hosts = lab.admin(&arguments, "")?;
    Ok(hosts.lines().next().context("the cloud has no compute host")?.trim().parse()?)
}

fn dmapi_section(user: &DatabaseUser, folder: &Path) -> Result<String> {
    let password_file = folder.join("database.password");
    std::fs::write(&password_file, user.account.password.expose_secret())?;
    Ok(format!(
        "[cloud]\nkind = \"openstack\"\ndefault_pool = \"default\"\n\n[cloud.database]\nuser = \"{}\"\n\
         password_file = {password_file:?}\nnova_api = \"mysql://{}\"\ncinder = \"mysql://{}\"\n",
        user.account.user,
        user.url("nova_api"),
        user.url("cinder"),
    ))
}

/// The cluster's config; for another account one that names a keyring which that may read.
fn ceph_conf(lab: &Lab, run_as: Option<&RunAs>, folder: &Path) -> Result<PathBuf> {
    if run_as.is_none() {
        return Ok(lab.ceph.conf.clone());
    }
    let name = format!("client.{}", lab.ceph.user);
    let keyring = folder.join(format!("{name}.keyring"));
    std::fs::copy(lab.ceph.conf.with_file_name(format!("ceph.{name}.keyring")), &keyring)?;
    let conf = folder.join("ceph.conf");
    let text = std::fs::read_to_string(&lab.ceph.conf)?;
    std::fs::write(&conf, format!("{text}\n[{name}]\nkeyring = {}\n", keyring.display()))?;
    Ok(conf)
}

fn datamover_section(lab: &Lab, scratch: &ScratchFolder, ceph_conf: &Path) -> String {
    let ceph = &lab.ceph;
    let brick = concat!(env!("CARGO_MANIFEST_DIR"), "/../../services/datamover/brick/holdfast-brick");
    format!(
        "[cloud]\nkind = \"openstack\"\ninstances_path = {:?}\nscratch_dir = {:?}\n\n\
         [[cloud.ceph]]\nconf = {:?}\nuser = \"{}\"\npool = \"{}\"\n\n\
         [cloud.brick]\ncommand = [{brick:?}]\n",
        lab.instances_dir,
        scratch.path(),
        ceph_conf,
        ceph.user,
        ceph.pool,
    )
}
