use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bus_config::{Role, base_topology, queue};
use sandbox::Broker;

/// The processes that belong to any of these groups, or whose command line names the directory.
fn processes_of(groups: &[i32], dir: &str) -> Vec<String> {
    let output = Command::new("ps").args(["-eo", "pgid=,pid=,stat=,args=", "-ww"]).output().unwrap();
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    listing
        .lines()
        .filter(|line| !line.contains("ps -eo"))
        .filter(|line| {
            let group = line.split_whitespace().next().and_then(|word| word.parse().ok());
            let of_group = group.is_some_and(|group: i32| groups.contains(&group));
            of_group || (!dir.is_empty() && line.contains(dir))
        })
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn assert_gone(groups: &[i32], dir: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<_> = processes_of(groups, dir);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:#?}");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_has_the_queues_of_the_table_and_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let broker = Broker::start_in(dir.path()).await.unwrap();
    println!("started in {:?}", begun.elapsed());
    let mut expected: Vec<_> = base_topology().queues.into_iter().map(|queue| queue.name).collect();
    expected.sort();
    let mut names: Vec<_> = broker.queues().await.unwrap().into_iter().map(|queue| queue.name).collect();
    names.sort();
    assert_eq!(names, expected);
    let groups = broker.process_groups();
    let name = dir.path().to_str().unwrap().to_owned();
    assert!(processes_of(&groups, &name).len() >= 3, "the groups are not seen");
    drop(broker);
    assert_gone(&groups, &name);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_run_at_once_and_each_comes_back_with_its_users() {
    let (first, second) = tokio::join!(Broker::start(), Broker::start());
    let (mut first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.amqp_url(), second.amqp_url());
    let host = "node-1.example".parse().unwrap();
    first.enroll_host(&host, &["ceph".parse().unwrap()]).await.unwrap();
    let url = first.amqp_url();
    first.restart().await.unwrap();
    assert_eq!(first.amqp_url(), url);
    assert_eq!(first.admin().hosts().await.unwrap(), std::slice::from_ref(&host));
    assert!(second.admin().hosts().await.unwrap().is_empty());
    first.kill().await.unwrap();
    assert!(first.queues().await.is_err());
    first.resume().await.unwrap();
    let names: Vec<_> = first.queues().await.unwrap().into_iter().map(|queue| queue.name).collect();
    assert!(names.contains(&queue::mover_host_ctl(&host)), "{names:?}");

    first.admin().remove_host(&host).await.unwrap();
    first.admin().remove_host(&host).await.unwrap();
    assert!(first.admin().hosts().await.unwrap().is_empty());
    let names: Vec<_> = first.queues().await.unwrap().into_iter().map(|queue| queue.name).collect();
    assert!(!names.contains(&queue::mover_host(&host)), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_in_force_and_a_wrong_password_is_refused_by_name() {
    let broker = Broker::start().await.unwrap();
    let user = Role::Monitor.user();
    let password = broker.create_user(&Role::Monitor).await.unwrap();
    let monitor = broker_admin::Admin::new(&broker.management_url(), &user, password).unwrap();
    monitor.check().await.unwrap();
    let refused = monitor.put_user("intruder", &"x".to_owned().into(), &["administrator"]).await.unwrap_err();
    assert_eq!(refused.failure().code, "BROKER_ADMIN_REFUSED");
    let wrong =
        broker_admin::Admin::new(&broker.management_url(), &user, "hunter2".to_owned().into()).unwrap();
    let error = wrong.check().await.unwrap_err().to_string();
    assert!(error.contains(&user) && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_child_dies_with_all_it_started_when_its_owner_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "sleep 1000 & sleep 1000"]).env("PATH", "/usr/bin:/bin");
    let child = sandbox::Supervised::spawn("sleepers", &command, &dir.path().join("log")).unwrap();
    let groups = [child.group()];
    let deadline = Instant::now() + Duration::from_secs(10);
    while processes_of(&groups, "").iter().filter(|line| line.contains("sleep 1000")).count() < 3 {
        assert!(Instant::now() < deadline, "{:?}", processes_of(&groups, ""));
        std::thread::yield_now();
    }
    drop(child);
    assert_gone(&groups, "");
}

#[test]
fn a_program_that_is_missing_ends_early_and_its_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut child = sandbox::Supervised::spawn("nothing", &Command::new("/nowhere/at-all"), &log).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.ended().unwrap().is_none() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert!(std::fs::read_to_string(Path::new(&log)).unwrap().contains("/nowhere/at-all"));
}

const OWNER: &str = "SANDBOX_TEST_OWNER";

/// Runs itself once more as the owner, which tells its child's group and then waits to be killed.
#[test]
fn a_child_dies_even_when_its_owner_is_killed_and_cannot_say_so() {
    let dir = tempfile::tempdir().unwrap();
    if std::env::var_os(OWNER).is_some() {
        let mut command = Command::new("/bin/sleep");
        command.arg("1000");
        let child = sandbox::Supervised::spawn("sleeper", &command, &dir.path().join("log")).unwrap();
        println!("group={}", child.group());
        loop {
            std::thread::park();
        }
    }
    let mut owner = Command::new(std::env::current_exe().unwrap());
    owner.args([
        "--exact",
        "broker::a_child_dies_even_when_its_owner_is_killed_and_cannot_say_so",
        "--nocapture",
    ]);
    let mut owner = owner.env(OWNER, "1").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let group = lines.find_map(|line| line.unwrap().split_once("group=")?.1.parse().ok());
    let groups: [i32; 1] = [group.unwrap()];
    assert!(!processes_of(&groups, "").is_empty());
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_gone(&groups, "");
}
