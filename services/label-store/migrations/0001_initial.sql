-- Data sets, runs, slots, candidates. Types and statements are those that SQLite and PostgreSQL share.
-- Times are milliseconds since 1970; labels are indices into the data set's classes; hashes are BLAKE3 in hexadecimal.

CREATE TABLE datasets (
    id         TEXT PRIMARY KEY,
    path       TEXT NOT NULL,
    layout     TEXT NOT NULL,
    -- JSON array, in label order.
    classes    TEXT NOT NULL,
    -- JSON; NULL before the split.
    policy     TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE images (
    id         TEXT PRIMARY KEY,
    dataset_id TEXT NOT NULL REFERENCES datasets (id),
    -- Relative to the data set.
    path       TEXT NOT NULL,
    label      BIGINT NOT NULL,
    -- Empty where unknown.
    subject    TEXT NOT NULL,
    blake3     TEXT NOT NULL,
    -- The 64 bits of the perceptual hash, reinterpreted as a signed number.
    phash      BIGINT NOT NULL,
    width      BIGINT NOT NULL,
    height     BIGINT NOT NULL,
    -- train, val, calibration or golden; empty before the split.
    split      TEXT NOT NULL DEFAULT '',
    UNIQUE (dataset_id, path)
);
CREATE INDEX images_by_split ON images (dataset_id, split, label);
CREATE INDEX images_by_bytes ON images (dataset_id, blake3);

CREATE TABLE golden_reads (
    id         TEXT PRIMARY KEY,
    dataset_id TEXT NOT NULL REFERENCES datasets (id),
    time       BIGINT NOT NULL,
    reader     TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    run_id     TEXT NOT NULL
);
CREATE INDEX golden_reads_by_dataset ON golden_reads (dataset_id, time);

CREATE TABLE runs (
    id                     TEXT PRIMARY KEY,
    dataset_id             TEXT NOT NULL,
    recipe_toml            TEXT NOT NULL,
    -- The unsigned 64-bit seed, reinterpreted as a signed number.
    seed                   BIGINT NOT NULL,
    generator              TEXT NOT NULL,
    max_synthetic_fraction DOUBLE PRECISION NOT NULL,
    max_phash_distance     BIGINT,
    created_at             BIGINT NOT NULL
);

CREATE TABLE stages (
    run_id      TEXT NOT NULL REFERENCES runs (id),
    name        TEXT NOT NULL,
    position    BIGINT NOT NULL,
    result_json TEXT NOT NULL,
    duration_us BIGINT NOT NULL,
    PRIMARY KEY (run_id, name)
);

-- What a run may add to a class, fixed when its first slot is planned.
CREATE TABLE targets (
    run_id     TEXT NOT NULL REFERENCES runs (id),
    label      BIGINT NOT NULL,
    label_name TEXT NOT NULL,
    -- Real images of the class in train.
    real_count BIGINT NOT NULL,
    -- Most synthetic images the class may get.
    cap        BIGINT NOT NULL,
    PRIMARY KEY (run_id, label)
);

CREATE TABLE slots (
    id               TEXT PRIMARY KEY,
    run_id           TEXT NOT NULL,
    target           BIGINT NOT NULL,
    ordinal          BIGINT NOT NULL,
    -- JSON array of image ids.
    sources          TEXT NOT NULL,
    tries_per_source BIGINT NOT NULL,
    -- The attempt that is next or under way, from 0.
    attempt          BIGINT NOT NULL DEFAULT 0,
    -- open, accepted or exhausted; an open slot is leased while lease_expires lies ahead.
    state            TEXT NOT NULL DEFAULT 'open',
    holder           TEXT NOT NULL DEFAULT '',
    lease_expires    BIGINT NOT NULL DEFAULT 0,
    UNIQUE (run_id, target, ordinal),
    FOREIGN KEY (run_id, target) REFERENCES targets (run_id, label)
);
CREATE INDEX slots_by_turn ON slots (run_id, state, ordinal, target);

CREATE TABLE candidates (
    id              TEXT PRIMARY KEY,
    run_id          TEXT NOT NULL REFERENCES runs (id),
    slot_id         TEXT NOT NULL REFERENCES slots (id),
    attempt         BIGINT NOT NULL,
    -- Order of settlement within the run, from 0.
    position        BIGINT NOT NULL,
    source_image_id TEXT NOT NULL REFERENCES images (id),
    target          BIGINT NOT NULL,
    -- admitted, refunded, exhausted, duplicate or cap_reached.
    settlement      TEXT NOT NULL,
    -- The guard's word, before the store's own checks.
    passed_gates    BOOLEAN NOT NULL,
    rejected_by     TEXT NOT NULL,
    error           TEXT NOT NULL,
    -- NULL where there was no image.
    blake3          TEXT,
    -- NULL where there was no image or it did not decode; so are width and height.
    phash           BIGINT,
    width           BIGINT,
    height          BIGINT,
    -- The generator's fault by its number in the contract; NULL where it does not know.
    fault           BIGINT,
    cost_usd        DOUBLE PRECISION NOT NULL,
    -- JSON.
    provenance      TEXT NOT NULL,
    verdicts        TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    UNIQUE (run_id, position),
    UNIQUE (slot_id, attempt)
);
CREATE INDEX candidates_by_target ON candidates (run_id, settlement, target);
CREATE INDEX candidates_by_bytes ON candidates (run_id, blake3);
