-- Keys sort by their bytes (COLLATE "C"), whatever the database's collation is: pages must walk an index in that order.
-- Texts are stored as storage/postgres/texts.py writes them. JSON is bytea, as the server encoded it: that is the cheapest
-- and comes back exactly (jsonb refuses U+0000 and changes numbers); nothing here looks into it.

CREATE TABLE threads (
    tenant text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    recency_at_ms bigint NOT NULL,
    listed boolean NOT NULL,
    archived boolean NOT NULL,
    name text,
    preview text NOT NULL,
    cwd text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    model text NOT NULL,
    model_provider text COLLATE "C" NOT NULL,
    meta bytea NOT NULL,
    -- preview and name as a search compares them: case folded by the server, UTF-8, with a byte between that is in neither
    folded bytea NOT NULL,
    PRIMARY KEY (tenant, thread_id)
);

CREATE INDEX threads_by_created ON threads (tenant, archived, created_at_ms, thread_id) WHERE listed;
CREATE INDEX threads_by_updated ON threads (tenant, archived, updated_at_ms, thread_id) WHERE listed;
CREATE INDEX threads_by_recency ON threads (tenant, archived, recency_at_ms, thread_id) WHERE listed;

CREATE TABLE records (
    tenant text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    at_ms bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (tenant, thread_id, seq)
);

-- A lease may exist before its thread does: last_seq is NULL then. A released one keeps its epoch, and its owner is NULL.
-- No index has a column that a renewal or an append changes, so that neither writes to an index.
CREATE TABLE leases (
    tenant text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    owner text COLLATE "C",
    epoch bigint NOT NULL,
    expires timestamptz NOT NULL,
    last_seq bigint,
    PRIMARY KEY (tenant, thread_id)
) WITH (fillfactor = 50);

CREATE INDEX leases_by_owner ON leases (owner, tenant) WHERE owner IS NOT NULL;

-- Generated pictures, derived from the records of their finished items.
CREATE TABLE pictures (
    tenant text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    at_ms bigint NOT NULL,
    turn_id text COLLATE "C" NOT NULL,
    item_id text COLLATE "C" NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    mime text NOT NULL,
    size_bytes bigint NOT NULL,
    width bigint NOT NULL,
    height bigint NOT NULL,
    path text,
    handle text,
    prompt text,
    model text,
    PRIMARY KEY (tenant, thread_id, seq)
);

CREATE INDEX pictures_by_time ON pictures (tenant, at_ms, thread_id, seq);
CREATE INDEX pictures_by_sha256 ON pictures (tenant, sha256);

-- What replicas ask each other: a row from the question until the one who asked takes it away.
CREATE TABLE letters (
    tenant text COLLATE "C" NOT NULL,
    letter_id text COLLATE "C" NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    kind text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    taken_by text COLLATE "C",
    answer bytea,
    touched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, letter_id)
);

CREATE INDEX letters_waiting ON letters (tenant, thread_id, kind, number) WHERE taken_by IS NULL AND answer IS NULL;

-- One row for each process that writes: the number of its last round and what came of it, in the round's own commit. Who
-- lost the connection during a commit finds out here; a new session shuts the old connection out.
CREATE TABLE writers (
    replica text COLLATE "C" PRIMARY KEY,
    session bigint NOT NULL,
    round bigint NOT NULL,
    outcome bytea,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- Random bytes that all replicas share.
CREATE TABLE secrets (
    tenant text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    secret bytea NOT NULL,
    PRIMARY KEY (tenant, name)
);
