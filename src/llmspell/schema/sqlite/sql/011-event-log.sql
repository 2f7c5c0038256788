-- Event log.
CREATE TABLE IF NOT EXISTS event_log (
  id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
  tenant_id TEXT NOT NULL,
  event_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  correlation_id TEXT NOT NULL,
  timestamp INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  language TEXT NOT NULL,
  payload TEXT NOT NULL,
  UNIQUE (tenant_id, event_id),
  UNIQUE (tenant_id, sequence)
);
CREATE INDEX IF NOT EXISTS idx_event_log_tenant ON event_log(tenant_id);
CREATE INDEX IF NOT EXISTS idx_event_log_correlation ON event_log(correlation_id, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_event_log_type ON event_log(event_type, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_event_log_sequence ON event_log(sequence DESC);
CREATE INDEX IF NOT EXISTS idx_event_log_tenant_time ON event_log(tenant_id, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_event_log_timestamp ON event_log(timestamp);
CREATE INDEX IF NOT EXISTS idx_event_log_language ON event_log(language);
CREATE INDEX IF NOT EXISTS idx_event_log_tenant_type_time ON event_log(tenant_id, event_type, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_event_log_payload_context ON event_log(json_extract(payload, '$.context'));
CREATE INDEX IF NOT EXISTS idx_event_log_payload_emitter ON event_log(json_extract(payload, '$.emitter'));
