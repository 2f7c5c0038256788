-- Workflow states.
CREATE TABLE IF NOT EXISTS llmspell.workflow_states (
  tenant_id VARCHAR(255) NOT NULL,
  workflow_id VARCHAR(255) NOT NULL,
  workflow_name VARCHAR(500),
  state_data JSONB NOT NULL,
  current_step INTEGER NOT NULL DEFAULT 0,
  status VARCHAR(20) NOT NULL DEFAULT 'pending',
  started_at TIMESTAMPTZ,
  completed_at TIMESTAMPTZ,
  last_updated TIMESTAMPTZ NOT NULL DEFAULT now(),
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, workflow_id),
  CONSTRAINT valid_workflow_status CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
  CONSTRAINT positive_step_index CHECK (current_step >= 0)
);
CREATE INDEX IF NOT EXISTS idx_workflow_states_tenant ON llmspell.workflow_states (tenant_id);
CREATE INDEX IF NOT EXISTS idx_workflow_states_tenant_workflow ON llmspell.workflow_states (tenant_id, workflow_id);
CREATE INDEX IF NOT EXISTS idx_workflow_states_status ON llmspell.workflow_states (status);
CREATE INDEX IF NOT EXISTS idx_workflow_states_started ON llmspell.workflow_states (started_at DESC);
CREATE INDEX IF NOT EXISTS idx_workflow_states_completed ON llmspell.workflow_states (completed_at DESC)
  WHERE completed_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_workflow_states_data_gin ON llmspell.workflow_states USING gin (state_data);
CREATE INDEX IF NOT EXISTS idx_workflow_states_execution_stats ON llmspell.workflow_states
  ((state_data -> 'execution_stats'));
CREATE INDEX IF NOT EXISTS idx_workflow_states_tenant_status ON llmspell.workflow_states (tenant_id, status);
CREATE OR REPLACE FUNCTION llmspell.update_workflow_states_updated_at() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.last_updated = now();
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_workflow_states_updated_at ON llmspell.workflow_states;
CREATE TRIGGER trigger_workflow_states_updated_at BEFORE UPDATE ON llmspell.workflow_states
  FOR EACH ROW EXECUTE FUNCTION llmspell.update_workflow_states_updated_at();
CREATE OR REPLACE FUNCTION llmspell.update_workflow_completed_at() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.status IN ('completed', 'failed', 'cancelled') AND OLD.status NOT IN ('completed', 'failed', 'cancelled') THEN
    NEW.completed_at = now();
  END IF;
  IF NEW.status = 'running' AND OLD.status = 'pending' AND NEW.started_at IS NULL THEN
    NEW.started_at = now();
  END IF;
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_workflow_lifecycle ON llmspell.workflow_states;
CREATE TRIGGER trigger_workflow_lifecycle BEFORE UPDATE ON llmspell.workflow_states
  FOR EACH ROW EXECUTE FUNCTION llmspell.update_workflow_completed_at();
