//! The program on databases with Nova's tables.

use bus_config::{key, queue};
use model::InstanceId;
use proto::cmd::v1::FreezeGuest;
use proto::common::v1::{ErrorClass, placement::At};
use runtime::Entropy;
use sandbox::MariaDb;

use crate::bench::{Bench, envelope, job_header, next, next_failure, placed};

/// `nova_api` and one cell.
struct Nova {
    server: MariaDb,
    port: u16,
    api: String,
    cell: String,
}

impl Nova {
    async fn start() -> Self {
        let server = MariaDb::start().await.unwrap();
        let url = url::Url::parse(&server.create_database().await.unwrap()).unwrap();
        let api = url.path().trim_start_matches('/').to_owned();
        let cell = url::Url::parse(&server.create_database().await.unwrap()).unwrap();
        let cell = cell.path().trim_start_matches('/').to_owned();
        let tables = [
            (&api, include_str!("../../../../crates/nova-placement/tests/it/schema/nova_api.sql")),
            (&cell, include_str!("../../../../crates/nova-placement/tests/it/schema/cell.sql")),
        ];
        for (database, schema) in tables {
            server.run(&format!("USE {database}; {schema}")).await.unwrap();
        }
        let sql = format!(
            "INSERT INTO {api}.cell_mappings (id, uuid, name) VALUES (1, '{}', 'cell1')",
            Entropy.uuid()
        );
        server.run(&sql).await.unwrap();
        Self { server, port: url.port().unwrap(), api, cell }
    }

    /// `[cloud]` for it.
    fn config(&self, password_file: &str) -> String {
        let Self { port, api, cell, .. } = self;
        format!(
            "[cloud]\nkind = \"openstack\"\ndefault_pool = \"default\"\n[cloud.database]\nuser = \"placement\"\n\
             password_file = \"{password_file}\"\nnova_api = \"mysql://127.0.0.1:{port}/{api}\"\n\
             [[cloud.database.cell]]\nname = \"cell1\"\nurl = \"mysql://127.0.0.1:{port}/{cell}\"\n"
        )
    }

    async fn instance(&self, host: &str, vm_state: &str) -> InstanceId {
        let id = InstanceId::from_uuid(Entropy.uuid());
        let Self { api, cell, .. } = self;
        let sql = format!(
            "INSERT INTO {api}.instance_mappings (instance_uuid, cell_id, project_id, queued_for_delete) \
             VALUES ('{id}', 1, 'p', 0); \
             INSERT INTO {cell}.instances (uuid, host, vm_state, deleted) VALUES ('{id}', {host}, '{vm_state}', 0)"
        );
        self.server.run(&sql).await.unwrap();
        id
    }
}

fn freeze(id: InstanceId) -> FreezeGuest {
    FreezeGuest {
        header: job_header(),
        placement: placed(At::InstanceId(id.to_string())),
        instance_id: id.to_string(),
        freeze_duration_max_ms: 9,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reaches_the_host_that_the_databases_name_with_the_rights_that_are_printed() {
    let mut bench = Bench::make().await;
    let nova = Nova::start().await;
    let password = bench.dir.path().join("database-password");
    std::fs::write(&password, "placement-secret\n").unwrap();
    bench.cloud = nova.config(&password.display().to_string());
    let printed = bench.command().arg("--print-grants").output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let grants = String::from_utf8(printed.stdout).unwrap();
    assert!(!grants.contains("placement-secret"), "{grants}");
    nova.server.run(&grants.replace("PASSWORD", "placement-secret")).await.unwrap();
    bench.start_dmapi();

    let (_mover, mut jobs) = bench.start_mover(&queue::mover_host(&bench.host)).await;
    let mut replies = bench.replies();
    let here = nova.instance(&format!("'{}'", bench.host), "active").await;
    bench.send(&envelope(&freeze(here))).await;
    let got = next(&mut jobs).await;
    assert_eq!(got.routing_key(), key::mover_host(&bench.host, "freeze_guest"));
    got.ack().await;

    let shelved = nova.instance("NULL", "shelved_offloaded").await;
    bench.send(&envelope(&freeze(shelved))).await;
    let (failed, error) = next_failure(&mut replies).await;
    assert_eq!((error.error_class(), error.code.as_str()), (ErrorClass::Permanent, "INSTANCE_SHELVED"));
    assert!(failed.effect_free);
}
