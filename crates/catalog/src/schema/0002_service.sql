-- The last sign of life of each service, overwritten in place. What was not seen for long is deleted.
CREATE TABLE IF NOT EXISTS service (
    kind $word NOT NULL,
    host $word NOT NULL,
    -- Another one means that it was started anew.
    boot_id $word NOT NULL,
    -- What only a registration tells.
    version $word,
    pools $text NOT NULL,
    started_at $int NOT NULL,
    seen_at $int NOT NULL,
    PRIMARY KEY (kind, host)
)$table;
