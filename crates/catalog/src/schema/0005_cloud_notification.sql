-- What the cloud told of protected instances and volumes: the newest of each workload.
CREATE TABLE IF NOT EXISTS cloud_notification (
    id $id NOT NULL PRIMARY KEY,
    workload_id $id NOT NULL,
    -- Of the instance or the volume.
    subject_kind $word NOT NULL,
    subject_id $id NOT NULL,
    change_word $word NOT NULL,
    detail $text NOT NULL,
    happened_at $int NOT NULL
)$table;
CREATE INDEX IF NOT EXISTS cloud_notification_by_workload ON cloud_notification (workload_id, happened_at);
CREATE INDEX IF NOT EXISTS snapshot_disk_by_volume ON snapshot_disk (volume_id)
