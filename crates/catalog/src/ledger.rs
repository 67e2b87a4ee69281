//! How many rows each table has: what a test compares before and after.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::values;

statements! {
    LEDGER = "SELECT 'workload' AS name, COUNT(*) AS count FROM workload UNION ALL SELECT 'workload_instance', COUNT(*) FROM workload_instance UNION ALL SELECT 'project_sequence', COUNT(*) FROM project_sequence UNION ALL SELECT 'lineage', COUNT(*) FROM lineage UNION ALL SELECT 'snapshot', COUNT(*) FROM snapshot UNION ALL SELECT 'snapshot_instance', COUNT(*) FROM snapshot_instance UNION ALL SELECT 'snapshot_disk', COUNT(*) FROM snapshot_disk UNION ALL SELECT 'restore', COUNT(*) FROM restore UNION ALL SELECT 'restore_instance', COUNT(*) FROM restore_instance UNION ALL SELECT 'restore_disk', COUNT(*) FROM restore_disk UNION ALL SELECT 'saga', COUNT(*) FROM saga UNION ALL SELECT 'saga_event', COUNT(*) FROM saga_event UNION ALL SELECT 'job', COUNT(*) FROM job UNION ALL SELECT 'outbox', COUNT(*) FROM outbox UNION ALL SELECT 'timer', COUNT(*) FROM timer UNION ALL SELECT 'intake_key', COUNT(*) FROM intake_key UNION ALL SELECT 'trust', COUNT(*) FROM trust UNION ALL SELECT 'volume_left', COUNT(*) FROM volume_left UNION ALL SELECT 'workload_reset', COUNT(*) FROM workload_reset";
    LEDGER_HELD = "SELECT 'locked_workload' AS name, COUNT(*) AS count FROM workload WHERE status = 'locked' UNION ALL SELECT 'held_lineage', COUNT(*) FROM lineage WHERE holder_saga_id IS NOT NULL UNION ALL SELECT 'pinned_snapshot', COUNT(*) FROM snapshot WHERE pins > 0 UNION ALL SELECT 'unfinished_job', COUNT(*) FROM job WHERE state <> 'done'";
}

impl Tx {
    /// The number of rows by table.
    pub async fn ledger(&mut self) -> Result<BTreeMap<String, u64>> {
        let rows = self.fetch_all(&LEDGER, values![]).await?;
        rows.iter().map(|row| Ok((row.text("name")?, row.number("count")?))).collect()
    }

    /// What is held: locked workloads, leased lineages, pinned snapshots, unfinished jobs. All zero when no saga runs.
    pub async fn ledger_of_held(&mut self) -> Result<BTreeMap<String, u64>> {
        let rows = self.fetch_all(&LEDGER_HELD, values![]).await?;
        rows.iter().map(|row| Ok((row.text("name")?, row.number("count")?))).collect()
    }
}
