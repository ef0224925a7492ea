-- Requests to services that cost money or allow only so many, and the tries they took.

CREATE TABLE requests (
    id      TEXT PRIMARY KEY,
    backend TEXT NOT NULL,
    budget  TEXT NOT NULL,
    -- The generator's outcome by its number in the contract; NULL while there is no answer.
    outcome BIGINT,
    -- The answer's, or why the last try failed.
    message TEXT NOT NULL DEFAULT '',
    -- The answer's image; NULL where there is none.
    blake3  TEXT
);
CREATE INDEX requests_by_budget ON requests (budget, backend);

CREATE TABLE permits (
    id         TEXT PRIMARY KEY,
    request_id TEXT NOT NULL REFERENCES requests (id),
    backend    TEXT NOT NULL,
    key_name   TEXT NOT NULL,
    budget     TEXT NOT NULL,
    -- When the try may be sent.
    sent_at    BIGINT NOT NULL,
    -- Reserved while the try is under way or where nobody learnt its cost.
    cost_usd   DOUBLE PRECISION NOT NULL,
    ended      BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX permits_by_key ON permits (backend, key_name, sent_at);
CREATE INDEX permits_by_request ON permits (request_id);
CREATE INDEX permits_by_budget ON permits (budget, cost_usd);
