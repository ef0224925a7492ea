-- SHA-256 of the prompt table that a run's candidates were asked for with; empty for runs from before it was kept.
ALTER TABLE runs ADD COLUMN prompt_version TEXT NOT NULL DEFAULT '';
