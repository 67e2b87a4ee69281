CREATE TABLE IF NOT EXISTS restore (
    id $id NOT NULL PRIMARY KEY,
    snapshot_id $id NOT NULL REFERENCES snapshot (id),
    workload_id $id NOT NULL,
    project_id $word NOT NULL,
    user_id $word NOT NULL,
    name $text NOT NULL,
    description $text NOT NULL,
    kind $word NOT NULL,
    status $word NOT NULL,
    saga_id $id NOT NULL,
    options_json $text NOT NULL,
    size_bytes $int NOT NULL,
    progress_message $text NOT NULL,
    error_code $word,
    error_message $text,
    created_at $int NOT NULL,
    updated_at $int NOT NULL,
    finished_at $int
)$table;
CREATE INDEX IF NOT EXISTS restore_by_project ON restore (project_id, created_at);
CREATE INDEX IF NOT EXISTS restore_by_snapshot ON restore (snapshot_id, created_at);

CREATE TABLE IF NOT EXISTS restore_instance (
    restore_id $id NOT NULL REFERENCES restore (id),
    instance_id $id NOT NULL,
    new_name $text NOT NULL,
    new_instance_id $id,
    status $word NOT NULL,
    PRIMARY KEY (restore_id, instance_id)
)$table;

CREATE TABLE IF NOT EXISTS restore_disk (
    restore_id $id NOT NULL REFERENCES restore (id),
    instance_id $id NOT NULL,
    disk_id $word NOT NULL,
    volume_id $id,
    size_bytes $int NOT NULL,
    status $word NOT NULL,
    bytes_total $int NOT NULL,
    bytes_done $int NOT NULL,
    bytes_read $int NOT NULL,
    bytes_written $int NOT NULL,
    duration_ms $int NOT NULL,
    PRIMARY KEY (restore_id, instance_id, disk_id)
)$table;
