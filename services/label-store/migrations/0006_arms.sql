-- What a class is filled up to where the plan says so; NULL: the size of the largest class.
ALTER TABLE runs ADD COLUMN class_size BIGINT;
-- How many candidates of the run were settled when the slot's attempt was first leased; NULL before.
ALTER TABLE slots ADD COLUMN settled BIGINT;
-- The arm of a candidate, beside its source and target: the prompt's text before style and axes, and the backend that was
-- asked. Empty where they were not told.
ALTER TABLE candidates ADD COLUMN prompt_text TEXT NOT NULL DEFAULT '';
ALTER TABLE candidates ADD COLUMN backend TEXT NOT NULL DEFAULT '';
