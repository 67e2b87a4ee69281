use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_its_health_and_ends_with_69_when_the_broker_refuses_it() {
    let bench = Bench::start().await;
    let address_file = bench.dir.path().join("health");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(address) = std::fs::read_to_string(&address_file)
            && let Ok(response) = reqwest::get(format!("http://{address}/health")).await
            && response.status().is_success()
        {
            break;
        }
        assert!(Instant::now() < deadline, "dmapi did not become healthy");
        tokio::task::yield_now().await;
    }

    std::fs::write(bench.dir.path().join("password"), "hunter2").unwrap();
    let output = tokio::task::spawn_blocking({
        let mut command = bench.command();
        move || command.output().unwrap()
    });
    let output = output.await.unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{log}");
    assert!(log.contains("holdfast-dmapi") && log.contains("wrong user or password"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn a_config_is_checked_and_help_shows_an_example() {
    let program = || Command::new(env!("CARGO_BIN_EXE_holdfast-dmapi"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dmapi.toml");
    std::fs::write(&path, "[bus]\nbrokers = []\nbrokerz = []\n").unwrap();
    let checked =
        program().arg("--config").arg(&path).arg("--check-config").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(2), "{said}");
    assert!(said.contains("dmapi.toml") && said.contains("line 3") && said.contains("brokerz"), "{said}");

    let help = program().arg("--help").output().unwrap();
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("[cloud]"), "no example in the help");
}

#[test]
fn the_rights_of_its_database_user_are_printed_without_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let (path, password) = (dir.path().join("dmapi.toml"), dir.path().join("password"));
    std::fs::write(&password, "hunter2\n").unwrap();
    let write = |cloud: &str| {
        let bus = format!(
            "[bus]\nbrokers = [\"amqp://127.0.0.1:5672\"]\nuser = \"u\"\npassword_file = {password:?}\n"
        );
        std::fs::write(&path, bus + cloud).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_holdfast-dmapi"));
        program.arg("--config").arg(&path).arg("--print-grants").stdin(Stdio::null()).output().unwrap()
    };
    let printed = write(&format!(
        "[cloud]\nkind = \"openstack\"\n[cloud.database]\nuser = \"holdfast\"\npassword_file = {password:?}\n\
         nova_api = \"mysql://db/nova_api\"\ncell = [{{ name = \"cell1\", url = \"mysql://db/nova\" }}]\n"
    ));
    let sql = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    assert!(
        sql.contains("GRANT SELECT (uuid, host, vm_state, task_state, deleted) ON `nova`.`instances`"),
        "{sql}"
    );
    assert!(!sql.contains("hunter2") && !sql.contains("database_connection"), "{sql}");

    let refused = write("[cloud]\nkind = \"directory\"\npath = \"/nowhere\"\n");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("[cloud.database]"));
}
