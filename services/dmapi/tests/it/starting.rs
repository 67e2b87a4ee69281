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
