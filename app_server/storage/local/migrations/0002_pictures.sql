-- Generated pictures, derived from the records of their finished items.
CREATE TABLE pictures (
    tenant TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    turn_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    mime TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    path TEXT,
    handle TEXT,
    prompt TEXT,
    model TEXT,
    PRIMARY KEY (tenant, thread_id, seq)
) WITHOUT ROWID;

CREATE INDEX pictures_by_time ON pictures (tenant, at_ms, thread_id, seq);

CREATE INDEX pictures_by_sha256 ON pictures (sha256);

INSERT INTO pictures
SELECT
    tenant,
    thread_id,
    seq,
    at_ms,
    json_extract(data, '$.turnId'),
    json_extract(data, '$.item.id'),
    json_extract(data, '$.picture.sha256'),
    json_extract(data, '$.picture.mime'),
    json_extract(data, '$.picture.bytes'),
    json_extract(data, '$.picture.width'),
    json_extract(data, '$.picture.height'),
    json_extract(data, '$.item.savedPath'),
    json_extract(data, '$.item.handle'),
    coalesce(json_extract(data, '$.item.prompt'), json_extract(data, '$.item.revisedPrompt')),
    json_extract(data, '$.item.model')
FROM (
    SELECT tenant, thread_id, seq, at_ms, CAST(data AS TEXT) AS data FROM records WHERE kind = 'item_completed'
)
WHERE
    json_extract(data, '$.item.type') = 'imageGeneration'
    AND json_extract(data, '$.picture.sha256') IS NOT NULL;

-- Whether this server made the file: such a file may be removed outside the home, too.
ALTER TABLE blobs ADD COLUMN ours INTEGER NOT NULL DEFAULT 0;
