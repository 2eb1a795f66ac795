-- Pictures that lie in an object store. A row without an owner names an object that is being put, or that shall go: it is
-- looked for by unowned_since, which a row with an owner may have for a moment, too.
CREATE TABLE blobs (
    tenant text COLLATE "C" NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    mime text NOT NULL,
    size_bytes bigint NOT NULL,
    width bigint NOT NULL,
    height bigint NOT NULL,
    unowned_since timestamptz,
    PRIMARY KEY (tenant, sha256)
);

CREATE INDEX blobs_unowned ON blobs (tenant, unowned_since) WHERE unowned_since IS NOT NULL;

-- The name is that of the item for which a picture was made; '' for one that was attached or kept.
CREATE TABLE blob_owners (
    tenant text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    put_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, owner, name, sha256),
    FOREIGN KEY (tenant, sha256) REFERENCES blobs
);

CREATE INDEX blob_owners_by_blob ON blob_owners (tenant, sha256, name);
