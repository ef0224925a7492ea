-- The server's name of what a try goes on as; NULL where a try is one request and its answer.
ALTER TABLE permits ADD COLUMN operation TEXT;
