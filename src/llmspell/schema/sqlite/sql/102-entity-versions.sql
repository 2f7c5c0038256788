-- rebuild: entities
-- unique: entity_id, transaction_time_start, transaction_time_start_us
-- One entity has many versions, two of them perhaps within one second. No CHECKs on whole seconds: a version may begin and
-- end within one, and the year 3000 sorts after the sentinel of infinity.
CREATE TABLE entities_rebuilt (
  entity_id TEXT,
  tenant_id TEXT NOT NULL,
  entity_type TEXT NOT NULL,
  name TEXT NOT NULL,
  properties TEXT NOT NULL DEFAULT '{}',
  valid_time_start INTEGER NOT NULL,
  valid_time_end INTEGER NOT NULL DEFAULT 9999999999,
  transaction_time_start INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  transaction_time_end INTEGER NOT NULL DEFAULT 9999999999,
  created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  valid_time_start_us INTEGER,
  valid_time_end_us INTEGER,
  transaction_time_start_us INTEGER,
  transaction_time_end_us INTEGER,
  created_at_us INTEGER,
  PRIMARY KEY (entity_id, transaction_time_start, transaction_time_start_us)
);
-- after the swap
-- Rows without an exact value are equal where their seconds are, though SQLite tells NULLs apart.
CREATE UNIQUE INDEX IF NOT EXISTS storage_entities_seconds ON entities(entity_id, transaction_time_start)
  WHERE transaction_time_start_us IS NULL;
