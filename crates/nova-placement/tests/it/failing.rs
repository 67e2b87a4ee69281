use std::time::Duration;

use cloud::{Located, Placement as _};
use model::{ErrorClass, Failure, InstanceId};
use nova_placement::{Cells, OpenstackPlacement};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::timeout;

use crate::databases::{PASSWORD_OF_NOVA, TestCloud};

/// Far above any bound of ours, and below the deadline of a step.
const PATIENCE: Duration = Duration::from_secs(60);

async fn failure(placement: &OpenstackPlacement, id: InstanceId) -> Failure {
    let located = timeout(PATIENCE, placement.locate_instance(id)).await.expect("each wait is bounded");
    let failure = located.unwrap_err();
    assert!(!failure.message.contains(PASSWORD_OF_NOVA), "{failure}");
    failure
}

#[track_caller]
fn assert_down(failure: &Failure) {
    assert_eq!((failure.class, failure.code.as_str()), (ErrorClass::Transient, "CLOUD_DATABASE_DOWN"));
    assert!(failure.message.contains("cell2"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_is_away_or_hangs_is_named_and_the_others_answer() {
    let mut cloud = TestCloud::start().await;
    let placement = cloud.placement(cloud.read()).await;
    let far = cloud.instance("cell2", "node-9", "active", "").await;
    let near = cloud.instance("cell1", "node-1", "active", "").await;
    let here = Located::On("node-9".parse().unwrap());
    assert_eq!(placement.locate_instance(far).await.unwrap(), here);

    let group = Pid::from_raw(cloud.second.process_group().unwrap()).unwrap();
    kill_process_group(group, Signal::STOP).unwrap();
    assert_down(&failure(&placement, far).await);
    assert!(matches!(placement.locate_instance(near).await.unwrap(), Located::On(_)));
    kill_process_group(group, Signal::CONT).unwrap();
    assert_eq!(placement.locate_instance(far).await.unwrap(), here);

    cloud.second.kill().await.unwrap();
    assert_down(&failure(&placement, far).await);
    cloud.second.resume().await.unwrap();
    // Its init file gave root a password, and our user is as it was.
    assert_eq!(placement.locate_instance(far).await.unwrap(), here);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_an_operator_can_mend_is_permanent_and_says_how() {
    let cloud = TestCloud::start().await;
    let id = cloud.instance("cell1", "node-1", "active", "").await;
    let code = |failure: &Failure| (failure.class, failure.code.clone());

    let databases = cloud.databases(cloud.read());
    let refused = failure(&cloud.placement_of(databases.clone()), id).await;
    assert_eq!(code(&refused), (ErrorClass::Permanent, "CLOUD_DATABASE_REFUSED".to_owned()));
    assert!(refused.message.contains("--print-grants"), "{refused}");

    let mut cells = cloud.cells.clone();
    cells.remove("cell1");
    let unlisted = failure(&cloud.placement(Cells::Listed(cells)).await, id).await;
    assert_eq!(code(&unlisted), (ErrorClass::Permanent, "CELL_NOT_LISTED".to_owned()));
    assert!(unlisted.message.contains("cell1"), "{unlisted}");

    let table = format!("{}.cell_mappings", cloud.nova_api.database);
    let connection = format!("postgresql://nova:{PASSWORD_OF_NOVA}@db/nova");
    let sql = format!("UPDATE {table} SET database_connection = '{connection}' WHERE name = 'cell1'");
    cloud.main.run(&sql).await.unwrap();
    let foreign = failure(&cloud.placement(cloud.read()).await, id).await;
    assert_eq!(code(&foreign), (ErrorClass::Permanent, "CELL_URL_UNUSABLE".to_owned()));

    cloud.main.run(&format!("ALTER TABLE {table} DROP COLUMN name")).await.unwrap();
    let unknown = failure(&cloud.placement_of(databases), id).await;
    assert_eq!(unknown.class, ErrorClass::Permanent, "{unknown}");
}
