-- Embeddings of real images by the CLIP model of a run, as those of candidates.
CREATE TABLE embeddings (
    position  INTEGER PRIMARY KEY,
    run_id    TEXT NOT NULL REFERENCES runs (id),
    image_id  TEXT NOT NULL REFERENCES images (id),
    embedding BYTEA NOT NULL,
    UNIQUE (run_id, image_id)
);
CREATE INDEX embeddings_by_run ON embeddings (run_id, position);
