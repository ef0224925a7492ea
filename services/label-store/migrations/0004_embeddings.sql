-- Near-duplicates by CLIP: the cosine from which on they are, NULL where they are not compared, and the embeddings of accepted
-- candidates, 32-bit little-endian floats.
ALTER TABLE runs ADD COLUMN max_clip_cosine DOUBLE PRECISION;
ALTER TABLE candidates ADD COLUMN embedding BYTEA;
