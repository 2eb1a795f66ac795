CREATE TABLE threads (
    tenant TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    recency_at_ms INTEGER NOT NULL,
    listed INTEGER NOT NULL,
    archived INTEGER NOT NULL,
    name TEXT,
    preview TEXT NOT NULL,
    cwd TEXT NOT NULL,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    model_provider TEXT NOT NULL,
    meta BLOB NOT NULL,
    PRIMARY KEY (tenant, thread_id)
) WITHOUT ROWID;

CREATE INDEX threads_by_created ON threads (tenant, archived, created_at_ms, thread_id) WHERE listed = 1;
CREATE INDEX threads_by_updated ON threads (tenant, archived, updated_at_ms, thread_id) WHERE listed = 1;
CREATE INDEX threads_by_recency ON threads (tenant, archived, recency_at_ms, thread_id) WHERE listed = 1;

CREATE TABLE records (
    tenant TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (tenant, thread_id, seq)
) WITHOUT ROWID;

-- A lease may exist before its thread does. A released one keeps its epoch, and its owner is NULL.
CREATE TABLE leases (
    tenant TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    owner TEXT,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (tenant, thread_id)
) WITHOUT ROWID;

CREATE INDEX leases_by_owner ON leases (owner) WHERE owner IS NOT NULL;

-- A path inside the home is relative to it, so that a home can be moved or copied; any other is absolute.
CREATE TABLE blobs (
    sha256 TEXT NOT NULL,
    path TEXT NOT NULL,
    mime TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    PRIMARY KEY (sha256, path)
) WITHOUT ROWID;

CREATE INDEX blobs_by_path ON blobs (path);

CREATE TABLE blob_owners (
    owner TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    path TEXT NOT NULL,
    PRIMARY KEY (owner, sha256, path)
) WITHOUT ROWID;

CREATE INDEX blob_owners_by_blob ON blob_owners (sha256, path);
