use cloud::{Located, Placement as _};
use model::{InstanceId, TargetId, VolumeId};
use nova_placement::Cells;
use runtime::Entropy;

use crate::databases::TestCloud;

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_all_cells_are_found_in_each_of_their_states() {
    let cloud = TestCloud::start().await;
    let on = |host: &str| Located::On(host.parse().unwrap());
    let cases = [
        (cloud.instance("cell1", "node-1", "active", "").await, on("node-1")),
        (cloud.instance("cell2", "node-9.example", "stopped", "").await, on("node-9.example")),
        (
            cloud.instance("cell2", "node-9", "active", "migrating").await,
            Located::Migrating { from: "node-9".parse().unwrap() },
        ),
        (cloud.instance("cell1", "", "shelved_offloaded", "").await, Located::Shelved),
        (cloud.instance("cell1", "", "building", "scheduling").await, Located::Building),
        (cloud.instance("cell1", "node-1", "soft-delete", "").await, Located::Deleted),
        (cloud.instance("cell0", "", "error", "").await, Located::NeverPlaced),
        (cloud.map(None, false).await, Located::Building),
        (cloud.map(None, true).await, Located::Deleted),
        // Its row was moved away with those of others that were deleted.
        (cloud.map(Some("cell1"), true).await, Located::Deleted),
        (InstanceId::from_uuid(Entropy.uuid()), Located::Nowhere),
    ];
    let deleted = cloud.instance("cell1", "node-1", "active", "").await;
    let database = &cloud.cells["cell1"].database;
    let sql = format!(
        "UPDATE {database}.instances SET deleted = id, vm_state = 'deleted' WHERE uuid = '{deleted}'"
    );
    cloud.main.run(&sql).await.unwrap();

    for cells in [cloud.read(), Cells::Listed(cloud.cells.clone())] {
        let placement = cloud.placement(cells).await;
        for (id, expected) in &cases {
            assert_eq!(placement.locate_instance(*id).await.unwrap(), *expected, "{id}");
        }
        assert_eq!(placement.locate_instance(deleted).await.unwrap(), Located::Deleted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_moved_is_found_where_it_is_now() {
    let cloud = TestCloud::start().await;
    let placement = cloud.placement(cloud.read()).await;
    let id = cloud.instance("cell1", "node-1", "active", "").await;
    assert_eq!(placement.locate_instance(id).await.unwrap(), Located::On("node-1".parse().unwrap()));
    let database = &cloud.cells["cell1"].database;
    cloud
        .main
        .run(&format!("UPDATE {database}.instances SET host = 'node-2' WHERE uuid = '{id}'"))
        .await
        .unwrap();
    assert_eq!(placement.locate_instance(id).await.unwrap(), Located::On("node-2".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_and_targets_go_to_a_pool_that_reaches_them() {
    let cloud = TestCloud::start().await;
    let placement = cloud.placement(cloud.read()).await;
    let pool = async |id: VolumeId| placement.pool_of_volume(id).await.map(|pool| pool.to_string());
    assert_eq!(pool(cloud.volume("node-1@rbd-2#fast", false).await).await.unwrap(), "ceph-2");
    assert_eq!(pool(cloud.volume("node-1@rbd#rbd", false).await).await.unwrap(), "default");
    let code = async |id: VolumeId| pool(id).await.unwrap_err().code;
    assert_eq!(code(cloud.volume("node-1@rbd#rbd", true).await).await, "VOLUME_NOT_FOUND");
    assert_eq!(code(VolumeId::from_uuid(Entropy.uuid())).await, "VOLUME_NOT_FOUND");
    assert_eq!(code(cloud.volume("", false).await).await, "VOLUME_NOT_PLACED");
    let target = TargetId::from_uuid(Entropy.uuid());
    assert_eq!(placement.pool_of_target(target).await.unwrap().to_string(), "default");
}
