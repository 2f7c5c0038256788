-- Workflow states.
CREATE TABLE IF NOT EXISTS workflow_states (
  tenant_id TEXT NOT NULL,
  workflow_id TEXT NOT NULL,
  workflow_name TEXT,
  state_data TEXT NOT NULL,
  current_step INTEGER NOT NULL DEFAULT 0,
  status TEXT NOT NULL DEFAULT 'pending',
  started_at INTEGER,
  completed_at INTEGER,
  last_updated INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  PRIMARY KEY (tenant_id, workflow_id),
  CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
  CHECK (current_step >= 0)
);
CREATE INDEX IF NOT EXISTS idx_workflow_states_tenant ON workflow_states(tenant_id);
CREATE INDEX IF NOT EXISTS idx_workflow_states_tenant_workflow ON workflow_states(tenant_id, workflow_id);
CREATE INDEX IF NOT EXISTS idx_workflow_states_status ON workflow_states(status);
CREATE INDEX IF NOT EXISTS idx_workflow_states_started ON workflow_states(started_at DESC);
CREATE INDEX IF NOT EXISTS idx_workflow_states_completed ON workflow_states(completed_at DESC)
  WHERE completed_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_workflow_states_tenant_status ON workflow_states(tenant_id, status);
CREATE TRIGGER IF NOT EXISTS trigger_workflow_lifecycle AFTER UPDATE OF status ON workflow_states
FOR EACH ROW
BEGIN
  UPDATE workflow_states SET started_at = strftime('%s', 'now'), last_updated = strftime('%s', 'now')
  WHERE tenant_id = NEW.tenant_id AND workflow_id = NEW.workflow_id
    AND NEW.status = 'running' AND OLD.status = 'pending' AND started_at IS NULL;
  UPDATE workflow_states SET completed_at = strftime('%s', 'now'), last_updated = strftime('%s', 'now')
  WHERE tenant_id = NEW.tenant_id AND workflow_id = NEW.workflow_id
    AND NEW.status IN ('completed', 'failed', 'cancelled')
    AND OLD.status NOT IN ('completed', 'failed', 'cancelled') AND completed_at IS NULL;
  UPDATE workflow_states SET last_updated = strftime('%s', 'now')
  WHERE tenant_id = NEW.tenant_id AND workflow_id = NEW.workflow_id AND NEW.status != OLD.status;
END;
