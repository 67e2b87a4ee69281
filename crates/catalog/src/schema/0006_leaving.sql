-- Workloads whose next snapshot is a full one: what increments build on was removed.
CREATE TABLE IF NOT EXISTS workload_reset (
    workload_id $id NOT NULL PRIMARY KEY,
    reset_at $int NOT NULL
)$table;

-- Volumes that were to go with their instance and stayed, since a volume snapshot of ours lay on them.
CREATE TABLE IF NOT EXISTS volume_left (
    volume_id $id NOT NULL PRIMARY KEY,
    workload_id $id NOT NULL,
    instance_id $id NOT NULL,
    name $text NOT NULL,
    found_at $int NOT NULL
)$table
