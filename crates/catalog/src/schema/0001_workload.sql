-- Instances protected together. Rows stay when a workload is deleted: its snapshots name it.
CREATE TABLE IF NOT EXISTS workload (
    id $id NOT NULL PRIMARY KEY,
    project_id $word NOT NULL,
    user_id $word NOT NULL,
    name $text NOT NULL,
    description $text NOT NULL,
    status $word NOT NULL,
    -- Who holds the lock.
    saga_id $id,
    target_id $id NOT NULL,
    created_at $int NOT NULL,
    updated_at $int NOT NULL,
    error_message $text
)$table;
CREATE INDEX IF NOT EXISTS workload_by_project ON workload (project_id, created_at);

-- The key refuses an instance in two workloads.
CREATE TABLE IF NOT EXISTS workload_instance (
    instance_id $id NOT NULL PRIMARY KEY,
    workload_id $id NOT NULL REFERENCES workload (id),
    name $text NOT NULL
)$table;
CREATE INDEX IF NOT EXISTS workload_instance_by_workload ON workload_instance (workload_id);

-- The number of the next fact of a project: a subscriber sees a gap.
CREATE TABLE IF NOT EXISTS project_sequence (
    project_id $word NOT NULL PRIMARY KEY,
    next $int NOT NULL
)$table;

-- One disk's history on a target. The lease is (epoch, holder_saga_id).
CREATE TABLE IF NOT EXISTS lineage (
    id $id NOT NULL PRIMARY KEY,
    workload_id $id NOT NULL,
    instance_id $id NOT NULL,
    disk_id $word NOT NULL,
    target_id $id NOT NULL,
    chunk_size_bytes $int NOT NULL,
    epoch $int NOT NULL,
    holder_saga_id $id,
    latest_snapshot_id $id,
    UNIQUE (workload_id, instance_id, disk_id)
)$table;
