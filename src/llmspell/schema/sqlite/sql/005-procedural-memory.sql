-- Patterns of procedural memory.
CREATE TABLE IF NOT EXISTS procedural_patterns (
  pattern_id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
  tenant_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  frequency INTEGER NOT NULL DEFAULT 1,
  first_seen INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  last_seen INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  updated_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  UNIQUE (tenant_id, scope, key, value),
  CHECK (frequency > 0)
);
CREATE INDEX IF NOT EXISTS idx_procedural_patterns_tenant ON procedural_patterns(tenant_id);
CREATE INDEX IF NOT EXISTS idx_procedural_patterns_scope_key ON procedural_patterns(scope, key);
CREATE INDEX IF NOT EXISTS idx_procedural_patterns_frequency ON procedural_patterns(frequency DESC);
CREATE INDEX IF NOT EXISTS idx_procedural_patterns_last_seen ON procedural_patterns(last_seen DESC);
CREATE INDEX IF NOT EXISTS idx_procedural_patterns_lookup ON procedural_patterns(tenant_id, scope, key, value)
  WHERE frequency >= 3;
