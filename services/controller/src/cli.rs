//! The command line of the controller.

mod register;

use std::io::Write as _;
use std::path::PathBuf;

use bus_config::{Enrolment, Subscription};
use clap::{Args, Parser, Subcommand};
use model::{HostName, JobKind, PoolName, ProjectId, ServiceName};
use service_kit::{Exit, ServiceArgs, StartError, about_config, checks};

use crate::config::{Config, EXAMPLE};
use crate::{doctor, enroll};

/// Arguments of the process. Without a subcommand the controller runs.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast-controller",
    version,
    about = "The controller of Holdfast: takes requests, keeps the catalog, runs the sagas"
)]
#[command(after_long_help = about_config(EXAMPLE), args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    service: Option<ServiceArgs>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the controller (the default).
    Run(ServiceArgs),
    /// Works on the database.
    #[command(subcommand)]
    Db(DbCommand),
    /// Works on the broker.
    #[command(subcommand)]
    Broker(BrokerCommand),
    /// Works on compute hosts.
    #[command(subcommand)]
    Host(HostCommand),
    /// Works on other services: who may submit jobs over the bus, and listen.
    #[command(subcommand)]
    Intake(IntakeCommand),
    /// Makes the entries in Keystone (service, endpoints, roles, service user) and prints the sections of the controllers' config.
    /// Harmless when repeated.
    Register(Box<register::Register>),
}

#[derive(Debug, Subcommand)]
enum BrokerCommand {
    /// Makes vhost, exchanges, queues and policies, and the users of controllers and dmapi. Harmless when repeated.
    Init(BrokerInit),
    /// Looks whether the users of controllers, dmapi, hosts and other services have the rights that they need, and no others.
    /// Changes nothing; ends with 1 when a check fails.
    Check(Management),
}

#[derive(Debug, Args)]
struct BrokerInit {
    #[command(flatten)]
    management: Management,
    /// Where the passwords of the users are: read when the files are there, else made and written.
    #[arg(long, value_name = "DIR", default_value = ".")]
    password_dir: PathBuf,
}

/// How to reach the broker's management API.
#[derive(Debug, Args)]
struct Management {
    /// The broker's management API, for example `http://127.0.0.1:15672`.
    #[arg(long)]
    management_url: String,
    /// A user of the broker who may make users.
    #[arg(long)]
    admin_user: String,
    #[arg(long, value_name = "FILE")]
    admin_password_file: PathBuf,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Makes the tables, or brings them to this program's version. Harmless when they are.
    Sync(ServiceArgs),
}

#[derive(Debug, Subcommand)]
enum HostCommand {
    /// Enrols a compute host at the broker (user, rights, queues) and prints its datamover's config. Harmless when repeated.
    Add(HostAdd),
}

#[derive(Debug, Args)]
struct HostAdd {
    host: HostName,
    /// A pool of datamovers that this host belongs to; may be given several times.
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<PoolName>,
    #[command(flatten)]
    management: Management,
    /// The password of the host's user: read when the file is there, else made and written. Default: `USER.password`.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A broker for the printed config.
    #[arg(long = "broker", value_name = "URL", default_value = "amqp://127.0.0.1:5672")]
    brokers: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum IntakeCommand {
    /// Enrols a service at the broker (user, rights, queue) and prints the grant for the controllers' config. Repeating it
    /// sets kinds and projects to those that are named now.
    Add(IntakeAdd),
    /// Lists the services that are enrolled, and how much waits for them.
    List(Management),
    /// Removes a service: its user, and its queue with what it holds. Harmless when repeated.
    Remove(IntakeRemove),
}

#[derive(Debug, Args)]
struct IntakeAdd {
    /// The user will be `holdfast-intake-SERVICE`, the queue `holdfast.q.sub.SERVICE`.
    service: ServiceName,
    /// A kind of job that it may submit, `snapshot` or `restore`; may be given several times. Without one it only listens.
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<JobKind>,
    /// A project whose jobs it may submit and whose facts it gets; may be given several times.
    #[arg(long = "project", value_name = "PROJECT", required_unless_present = "all_projects")]
    projects: Vec<ProjectId>,
    /// All projects: for an operator's own services.
    #[arg(long, conflicts_with = "projects")]
    all_projects: bool,
    #[command(flatten)]
    management: Management,
    /// The password of the service's user: read when the file is there, else made and written. Default: `USER.password`.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct IntakeRemove {
    service: ServiceName,
    #[command(flatten)]
    management: Management,
}

impl Management {
    fn administrator(self) -> enroll::Administrator {
        enroll::Administrator {
            management_url: self.management_url,
            user: self.admin_user,
            password_file: self.admin_password_file,
        }
    }
}

impl Arguments {
    /// Does what the arguments ask for.
    #[must_use]
    pub fn execute(self) -> Exit {
        match self.command {
            Some(Command::Run(service)) => run(&service),
            Some(Command::Db(DbCommand::Sync(service))) => match load(&service) {
                Ok(config) if service.check => checks::run(doctor::check(config)),
                Ok(config) => block_on(crate::db_sync(&config)),
                Err(exit) => exit,
            },
            Some(Command::Broker(BrokerCommand::Init(init))) => block_on(print(init_broker(init))),
            Some(Command::Broker(BrokerCommand::Check(management))) => {
                checks::run(async move { enroll::broker_check(&management.administrator()).await })
            }
            Some(Command::Host(HostCommand::Add(add))) => block_on(print(add_host(add))),
            Some(Command::Intake(command)) => block_on(print(intake(command))),
            Some(Command::Register(register)) => block_on(print(register.execute())),
            None => match self.service {
                Some(service) => run(&service),
                None => say_usage(),
            },
        }
    }
}

fn run(service: &ServiceArgs) -> Exit {
    match load(service) {
        Ok(config) if service.check => checks::run(doctor::check(config)),
        Ok(config) => service_kit::run("holdfast-controller", |service| crate::start(service, config)),
        Err(exit) => exit,
    }
}

fn load(service: &ServiceArgs) -> Result<Config, Exit> {
    service.load(Config::check)
}

/// What a command made is its reader's.
async fn print(work: impl Future<Output = Result<String, StartError>>) -> Result<(), StartError> {
    let text = work.await?;
    // A closed pipe is the reader's wish.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

async fn init_broker(init: BrokerInit) -> Result<String, StartError> {
    enroll::broker_init(&init.management.administrator(), &init.password_dir).await
}

async fn add_host(add: HostAdd) -> Result<String, StartError> {
    enroll::host_add(&enroll::HostOrder {
        password_file: add
            .password_file
            .unwrap_or_else(|| PathBuf::from(format!("{}.password", bus_config::user::mover(&add.host)))),
        host: add.host,
        pools: add.pools,
        administrator: add.management.administrator(),
        brokers: add.brokers,
    })
    .await
}

async fn intake(command: IntakeCommand) -> Result<String, StartError> {
    match command {
        IntakeCommand::Add(add) => add_service(add).await,
        IntakeCommand::List(management) => enroll::intake_list(&management.administrator()).await,
        IntakeCommand::Remove(remove) => {
            enroll::intake_remove(&remove.management.administrator(), &remove.service).await
        }
    }
}

async fn add_service(add: IntakeAdd) -> Result<String, StartError> {
    let subscription = match add.all_projects {
        true => Subscription::AllProjects,
        false => Subscription::Projects(add.projects),
    };
    let enrolment = Enrolment { service: add.service, kinds: add.kinds, subscription };
    let password_file =
        add.password_file.unwrap_or_else(|| PathBuf::from(format!("{}.password", enrolment.role().user())));
    enroll::intake_add(&add.management.administrator(), &enrolment, &password_file).await
}

/// Runs a short command: no actors, no drain.
fn block_on(work: impl Future<Output = Result<(), StartError>>) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(StartError::failed(format!("failed to make the runtime: {error}"))),
    };
    match result {
        Ok(()) => Exit::Done,
        Err(error) => {
            say(&error.reason);
            error.exit
        }
    }
}

fn say_usage() -> Exit {
    say("expected --config FILE; --help shows an example");
    Exit::Usage
}

/// The command line's own answer; telemetry is for the running service.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
