-- Saved agent states.
CREATE TABLE IF NOT EXISTS agent_states (
  state_id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
  tenant_id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  agent_type TEXT NOT NULL,
  state_data TEXT NOT NULL,
  schema_version INTEGER NOT NULL DEFAULT 1,
  data_version INTEGER NOT NULL DEFAULT 1,
  checksum TEXT NOT NULL,
  created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  updated_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  UNIQUE (tenant_id, agent_id),
  CHECK (schema_version > 0),
  CHECK (data_version > 0),
  CHECK (length(checksum) = 64)
);
CREATE INDEX IF NOT EXISTS idx_agent_states_tenant ON agent_states(tenant_id);
CREATE INDEX IF NOT EXISTS idx_agent_states_type ON agent_states(agent_type);
CREATE INDEX IF NOT EXISTS idx_agent_states_updated ON agent_states(updated_at DESC);
CREATE INDEX IF NOT EXISTS idx_agent_states_execution_state
  ON agent_states(json_extract(state_data, '$.state.execution_state'));
CREATE INDEX IF NOT EXISTS idx_agent_states_metadata_name ON agent_states(json_extract(state_data, '$.metadata.name'));
CREATE TRIGGER IF NOT EXISTS trigger_agent_state_version AFTER UPDATE ON agent_states
FOR EACH ROW WHEN NEW.state_data != OLD.state_data
BEGIN
  UPDATE agent_states SET data_version = data_version + 1, updated_at = strftime('%s', 'now')
  WHERE state_id = NEW.state_id;
END;
