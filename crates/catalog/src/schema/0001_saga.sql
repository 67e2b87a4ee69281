-- No foreign keys among these: they would lock the saga's row for every event, job and timer.
CREATE TABLE IF NOT EXISTS saga (
    id $id NOT NULL PRIMARY KEY,
    kind $word NOT NULL,
    definition_version $int NOT NULL,
    object_id $id NOT NULL,
    workload_id $id NOT NULL,
    project_id $word NOT NULL,
    params $text NOT NULL,
    facts $text NOT NULL,
    state $text NOT NULL,
    phase $word NOT NULL,
    -- The fence: whoever writes compares it and adds one.
    version $int NOT NULL,
    error_code $word,
    error_message $text,
    created_at $int NOT NULL,
    updated_at $int NOT NULL,
    finished_at $int
)$table;
CREATE INDEX IF NOT EXISTS saga_by_project ON saga (project_id, created_at);
CREATE INDEX IF NOT EXISTS saga_by_finish ON saga (finished_at);

CREATE TABLE IF NOT EXISTS saga_event (
    saga_id $id NOT NULL,
    sequence $int NOT NULL,
    kind $word NOT NULL,
    body $text NOT NULL,
    at $int NOT NULL,
    PRIMARY KEY (saga_id, sequence)
)$table;

CREATE TABLE IF NOT EXISTS job (
    id $id NOT NULL PRIMARY KEY,
    saga_id $id NOT NULL,
    step $int NOT NULL,
    branch $int NOT NULL,
    direction $word NOT NULL,
    attempt $int NOT NULL,
    epoch $int NOT NULL,
    state $word NOT NULL,
    worker $word,
    needs_lease $int NOT NULL,
    routing_key $word NOT NULL,
    command_type $word NOT NULL,
    command_body $blob NOT NULL,
    lease_until $int,
    deadline_at $int NOT NULL,
    bytes_total $int NOT NULL,
    bytes_done $int NOT NULL,
    bytes_read $int NOT NULL,
    bytes_stored $int NOT NULL,
    updated_at $int NOT NULL,
    UNIQUE (saga_id, step, branch, direction)
)$table;
CREATE INDEX IF NOT EXISTS job_by_lease ON job (state, lease_until);

CREATE TABLE IF NOT EXISTS outbox (
    id $id NOT NULL PRIMARY KEY,
    saga_id $id,
    message_id $id NOT NULL,
    exchange $word NOT NULL,
    routing_key $word NOT NULL,
    type_name $word NOT NULL,
    headers $text NOT NULL,
    body $blob NOT NULL,
    created_at $int NOT NULL,
    attempts $int NOT NULL
)$table;
CREATE INDEX IF NOT EXISTS outbox_by_age ON outbox (created_at, id);

CREATE TABLE IF NOT EXISTS timer (
    saga_id $id NOT NULL,
    step $int NOT NULL,
    branch $int NOT NULL,
    direction $word NOT NULL,
    attempt $int NOT NULL,
    kind $word NOT NULL,
    due_at $int NOT NULL,
    PRIMARY KEY (saga_id, step, branch, direction, attempt, kind)
)$table;
CREATE INDEX IF NOT EXISTS timer_by_due ON timer (due_at);

CREATE TABLE IF NOT EXISTS intake_key (
    source $key NOT NULL,
    idempotency_key $key NOT NULL,
    request_digest $word NOT NULL,
    saga_id $id NOT NULL,
    object_id $id NOT NULL,
    created_at $int NOT NULL,
    PRIMARY KEY (source, idempotency_key)
)$table;
