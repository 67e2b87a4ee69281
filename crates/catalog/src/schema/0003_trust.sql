-- On whose trust jobs run: one for each user in a project. A user's token is never kept.
CREATE TABLE IF NOT EXISTS trust (
    id $id NOT NULL PRIMARY KEY,
    project_id $word NOT NULL,
    user_id $word NOT NULL,
    -- As they were called when it was made: the cloud may have forgotten them since.
    project_name $text NOT NULL,
    user_name $text NOT NULL,
    -- The cloud's own id of it.
    trust_id $word NOT NULL,
    -- A JSON list of names.
    roles $text NOT NULL,
    state $word NOT NULL,
    -- Why it cannot be used.
    reason $text,
    created_at $int NOT NULL,
    updated_at $int NOT NULL,
    UNIQUE (project_id, user_id)
)$table;
