-- Names of the backends that could not be asked when the slot's attempt was first leased, as JSON; written with `settled`.
ALTER TABLE slots ADD COLUMN paused TEXT;
