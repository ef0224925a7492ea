-- Files that exports write for admitted candidates: the same picture with signed provenance in it.
CREATE TABLE signed_images (
    candidate_id TEXT PRIMARY KEY REFERENCES candidates (id),
    -- SHA-256 of the certificate that signed, in hexadecimal.
    certificate  TEXT NOT NULL,
    -- Of the signed file.
    blake3       TEXT NOT NULL
);
