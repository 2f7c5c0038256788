-- rebuild: event_log
-- unique: tenant_id, timestamp, timestamp_us, event_id
-- PostgreSQL's key. Sequences begin again with each process, so duplicates of them are normal.
CREATE TABLE event_log_rebuilt (
  id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
  tenant_id TEXT NOT NULL,
  event_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  correlation_id TEXT NOT NULL,
  timestamp INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  language TEXT NOT NULL,
  payload TEXT NOT NULL,
  timestamp_us INTEGER,
  UNIQUE (tenant_id, timestamp, timestamp_us, event_id)
);
-- after the swap
CREATE UNIQUE INDEX IF NOT EXISTS storage_event_log_seconds ON event_log(tenant_id, timestamp, event_id)
  WHERE timestamp_us IS NULL;
CREATE INDEX IF NOT EXISTS idx_event_log_sequence ON event_log(sequence DESC);
-- llmspell looks for the greatest sequence of a tenant before each insert, by what was a UNIQUE constraint.
CREATE INDEX IF NOT EXISTS storage_event_log_sequence ON event_log(tenant_id, sequence);
