-- Whether a snapshot may leave out instances that fail.
ALTER TABLE workload ADD COLUMN allow_partial $int NOT NULL DEFAULT 0;
-- Whether instances are taken at once or one by one, and then in which order.
ALTER TABLE workload ADD COLUMN workload_type $word NOT NULL DEFAULT 'parallel';
ALTER TABLE workload_instance ADD COLUMN position $int NOT NULL DEFAULT 0;

-- What a user should know of a snapshot that is available.
ALTER TABLE snapshot ADD COLUMN warning_message $text;
-- Why an instance is not in its snapshot.
ALTER TABLE snapshot_instance ADD COLUMN error_code $word;
ALTER TABLE snapshot_instance ADD COLUMN error_message $text
