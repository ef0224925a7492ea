-- Models that were trained, and which of them serves.

CREATE TABLE models (
    name             TEXT NOT NULL,
    -- 1, 2, ... of the name.
    version          BIGINT NOT NULL,
    directory        TEXT NOT NULL,
    revision         TEXT NOT NULL,
    dataset_id       TEXT NOT NULL,
    synthetic_run_id TEXT NOT NULL,
    -- BLAKE3 of what it was trained on.
    dataset_snapshot TEXT NOT NULL,
    -- Version of the same name; 0: none.
    parent           BIGINT NOT NULL,
    recipe           TEXT NOT NULL,
    -- The unsigned 64-bit seed, reinterpreted as a signed number.
    seed             BIGINT NOT NULL,
    -- JSON object of numbers.
    metrics          TEXT NOT NULL,
    -- candidate, serving or archived.
    stage            TEXT NOT NULL,
    registered_at    BIGINT NOT NULL,
    staged_at        BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);
CREATE UNIQUE INDEX one_model_serves ON models (name) WHERE stage = 'serving';
