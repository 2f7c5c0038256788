-- Hook executions.
CREATE TABLE IF NOT EXISTS hook_history (
  id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
  execution_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  hook_id TEXT NOT NULL,
  hook_type TEXT NOT NULL,
  correlation_id TEXT NOT NULL,
  hook_context BLOB NOT NULL,
  result_data TEXT NOT NULL,
  timestamp INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  triggering_component TEXT NOT NULL,
  component_id TEXT NOT NULL,
  modified_operation INTEGER NOT NULL DEFAULT 0,
  tags TEXT DEFAULT '[]',
  retention_priority INTEGER NOT NULL DEFAULT 0,
  context_size INTEGER NOT NULL,
  contains_sensitive_data INTEGER NOT NULL DEFAULT 0,
  metadata TEXT NOT NULL DEFAULT '{}',
  created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  UNIQUE (tenant_id, execution_id)
);
CREATE INDEX IF NOT EXISTS idx_hook_history_hook_time ON hook_history(hook_id, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_hook_history_correlation ON hook_history(correlation_id);
CREATE INDEX IF NOT EXISTS idx_hook_history_type ON hook_history(hook_type);
CREATE INDEX IF NOT EXISTS idx_hook_history_tenant_time ON hook_history(tenant_id, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_hook_history_retention ON hook_history(retention_priority, timestamp);
CREATE INDEX IF NOT EXISTS idx_hook_history_execution_id ON hook_history(execution_id);
