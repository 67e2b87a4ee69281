//! What an operator is told of the rights of dmapi's user, with rights that are really given and taken.

use model::{Check, Verdict};
use nova_placement::{Cells, Databases, Pools, Settings, examine};

use crate::databases::TestCloud;

async fn look(databases: Databases) -> Vec<Check> {
    let pools = Pools { backends: Vec::new(), targets: [].into(), default: None };
    examine(&Settings { databases: Some(databases), api: None, pools }).await
}

/// Those that fail: code and message.
fn failures(checks: &[Check]) -> Vec<(&str, &str)> {
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail);
    failed.map(|check| (check.code.as_str(), check.message.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_or_too_many_is_told_with_what_to_do() {
    let cloud = TestCloud::start().await;
    let user = format!("'{}'@'%'", cloud.account.user);
    for cells in [Cells::Listed(cloud.cells.clone()), cloud.read()] {
        let databases = cloud.databases(cells);
        cloud.grant(&databases).await;
        let checks = look(databases.clone()).await;
        assert_eq!(failures(&checks), [], "all well");
        for name in ["nova_api", "cell0", "cell1", "cell2", "Cinder"] {
            assert!(checks.iter().any(|check| check.subject.contains(name)), "{name}: {checks:?}");
        }

        let cell = &cloud.cells["cell2"].database;
        let columns = "uuid, host, vm_state, task_state, deleted";
        let right = format!("SELECT ({columns}) ON `{cell}`.`instances`");
        cloud.second.run(&format!("REVOKE {right} FROM {user}")).await.unwrap();
        let checks = look(databases.clone()).await;
        let missing = failures(&checks);
        assert_eq!(missing[0].0, "CLOUD_DATABASE_RIGHT_MISSING", "{checks:?}");
        assert!(missing[0].1.ends_with(&format!("GRANT {right} TO {user};")), "{missing:?}");

        cloud.second.run(&format!("GRANT {right} TO {user}")).await.unwrap();
        let cinder = &cloud.cinder.database;
        cloud.main.run(&format!("GRANT UPDATE ON `{cinder}`.`volumes` TO {user}")).await.unwrap();
        let checks = look(databases.clone()).await;
        let wide = failures(&checks);
        assert_eq!(wide[0].0, "CLOUD_DATABASE_RIGHTS_TOO_WIDE", "{checks:?}");
        assert!(wide[0].1.contains("UPDATE ON"), "{wide:?}");
        assert!(!format!("{checks:?}").contains("PASSWORD '"), "no hash of a password is shown");
        cloud.main.run(&format!("REVOKE UPDATE ON `{cinder}`.`volumes` FROM {user}")).await.unwrap();
        assert_eq!(failures(&look(databases).await), [], "all well again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_told_by_its_own_code() {
    let cloud = TestCloud::start().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut databases = cloud.databases(Cells::Listed(cloud.cells.clone()));
    cloud.grant(&databases).await;
    databases.cinder.as_mut().unwrap().port = port;
    let checks = look(databases).await;
    assert!(failures(&checks).iter().all(|(code, _)| *code == "CLOUD_DATABASE_DOWN"), "{checks:?}");
    assert!(!failures(&checks).is_empty());
}
