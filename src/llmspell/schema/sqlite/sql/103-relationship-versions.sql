-- rebuild: relationships
-- unique: relationship_id, transaction_time_start, transaction_time_start_us
-- As 102 for entities; and no foreign keys: a relationship may outlive its entities.
CREATE TABLE relationships_rebuilt (
  relationship_id TEXT,
  tenant_id TEXT NOT NULL,
  from_entity TEXT NOT NULL,
  to_entity TEXT NOT NULL,
  relationship_type TEXT NOT NULL,
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
  PRIMARY KEY (relationship_id, transaction_time_start, transaction_time_start_us)
);
-- after the swap
CREATE UNIQUE INDEX IF NOT EXISTS storage_relationships_seconds ON relationships(relationship_id, transaction_time_start)
  WHERE transaction_time_start_us IS NULL;
