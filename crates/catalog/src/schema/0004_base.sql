-- Whether the storage keeps the point in time of a workload's newest snapshot.
ALTER TABLE workload ADD COLUMN keep_base $word NOT NULL DEFAULT 'auto';

-- The volume snapshot of a lineage's newest snapshot, where it was kept.
CREATE TABLE IF NOT EXISTS lineage_base (
    lineage_id $id NOT NULL PRIMARY KEY,
    snapshot_id $id NOT NULL,
    volume_snapshot_id $id NOT NULL,
    -- By which the cloud finds it.
    tag $word NOT NULL
)$table
