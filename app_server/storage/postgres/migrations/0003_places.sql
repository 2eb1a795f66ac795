-- What a tenant has taken of what is limited (storage/places.py). A place counts until `ends`; its owner renews it while it
-- lives, unless it has none.
CREATE TABLE places (
    tenant text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    owner text COLLATE "C",
    ends timestamptz NOT NULL,
    PRIMARY KEY (tenant, kind, key)
);

CREATE INDEX places_by_owner ON places (owner) WHERE owner IS NOT NULL;
