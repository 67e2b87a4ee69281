-- What was recorded since a kept base was found to be false, so that nothing builds on it any more.
ALTER TABLE lineage_base ADD COLUMN is_false $int NOT NULL DEFAULT 0;

-- What a service can do, as it said, where it did.
ALTER TABLE service ADD COLUMN capabilities $text
;

-- The newest sagas of all projects, and those of one snapshot, restore or workload.
CREATE INDEX IF NOT EXISTS saga_by_creation ON saga (created_at, id);
CREATE INDEX IF NOT EXISTS saga_by_object ON saga (object_id, created_at)
