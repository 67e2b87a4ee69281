-- What services answered when somebody asked how they find themselves: any controller may hear it.
CREATE TABLE IF NOT EXISTS examination_answer (
    examination_id $id NOT NULL,
    kind $word NOT NULL,
    host $word NOT NULL,
    -- The message as it came.
    answer $blob NOT NULL,
    received_at $int NOT NULL,
    PRIMARY KEY (examination_id, kind, host)
)$table
