CREATE TABLE IF NOT EXISTS snapshot (
    id $id NOT NULL PRIMARY KEY,
    workload_id $id NOT NULL REFERENCES workload (id),
    project_id $word NOT NULL,
    user_id $word NOT NULL,
    name $text NOT NULL,
    description $text NOT NULL,
    kind $word NOT NULL,
    status $word NOT NULL,
    saga_id $id NOT NULL,
    parent_snapshot_id $id,
    consistency $word,
    -- How many jobs read it: it cannot be deleted meanwhile.
    pins $int NOT NULL,
    size_bytes $int NOT NULL,
    bytes_read $int NOT NULL,
    bytes_stored $int NOT NULL,
    progress_message $text NOT NULL,
    error_code $word,
    error_message $text,
    created_at $int NOT NULL,
    updated_at $int NOT NULL,
    finished_at $int
)$table;
CREATE INDEX IF NOT EXISTS snapshot_by_project ON snapshot (project_id, created_at);
CREATE INDEX IF NOT EXISTS snapshot_by_workload ON snapshot (workload_id, created_at);

CREATE TABLE IF NOT EXISTS snapshot_instance (
    snapshot_id $id NOT NULL REFERENCES snapshot (id),
    instance_id $id NOT NULL,
    name $text NOT NULL,
    status $word NOT NULL,
    consistency $word,
    description_json $text NOT NULL,
    PRIMARY KEY (snapshot_id, instance_id)
)$table;

CREATE TABLE IF NOT EXISTS snapshot_disk (
    snapshot_id $id NOT NULL REFERENCES snapshot (id),
    instance_id $id NOT NULL,
    disk_id $word NOT NULL,
    lineage_id $id NOT NULL,
    volume_id $id,
    device $word NOT NULL,
    size_bytes $int NOT NULL,
    format $word NOT NULL,
    status $word NOT NULL,
    bytes_total $int NOT NULL,
    bytes_done $int NOT NULL,
    bytes_read $int NOT NULL,
    bytes_stored $int NOT NULL,
    duration_ms $int NOT NULL,
    manifest_digest $word,
    parent_snapshot_id $id,
    PRIMARY KEY (snapshot_id, instance_id, disk_id)
)$table;
CREATE INDEX IF NOT EXISTS snapshot_disk_by_lineage ON snapshot_disk (lineage_id);
