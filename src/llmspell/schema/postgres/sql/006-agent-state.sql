-- Saved agent states.
CREATE TABLE IF NOT EXISTS llmspell.agent_states (
  state_id UUID PRIMARY KEY DEFAULT @extschema:uuid-ossp@.uuid_generate_v4(),
  tenant_id VARCHAR(255) NOT NULL,
  agent_id VARCHAR(255) NOT NULL,
  agent_type VARCHAR(100) NOT NULL,
  state_data JSONB NOT NULL,
  schema_version INTEGER NOT NULL DEFAULT 1,
  data_version INTEGER NOT NULL DEFAULT 1,
  checksum VARCHAR(64) NOT NULL,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  CONSTRAINT unique_agent_state UNIQUE (tenant_id, agent_id),
  CONSTRAINT positive_schema_version CHECK (schema_version > 0),
  CONSTRAINT positive_data_version CHECK (data_version > 0)
);
CREATE INDEX IF NOT EXISTS idx_agent_states_tenant ON llmspell.agent_states (tenant_id);
CREATE INDEX IF NOT EXISTS idx_agent_states_type ON llmspell.agent_states (agent_type);
CREATE INDEX IF NOT EXISTS idx_agent_states_updated ON llmspell.agent_states (updated_at DESC);
CREATE INDEX IF NOT EXISTS idx_agent_states_data_gin ON llmspell.agent_states USING gin (state_data);
CREATE INDEX IF NOT EXISTS idx_agent_states_execution_state ON llmspell.agent_states
  ((state_data -> 'state' ->> 'execution_state'));
CREATE INDEX IF NOT EXISTS idx_agent_states_metadata_name ON llmspell.agent_states
  ((state_data -> 'metadata' ->> 'name'));
CREATE OR REPLACE FUNCTION llmspell.update_agent_states_updated_at() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.updated_at = now();
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_agent_states_updated_at ON llmspell.agent_states;
CREATE TRIGGER trigger_agent_states_updated_at BEFORE UPDATE ON llmspell.agent_states
  FOR EACH ROW EXECUTE FUNCTION llmspell.update_agent_states_updated_at();
CREATE OR REPLACE FUNCTION llmspell.increment_agent_state_version() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.state_data IS DISTINCT FROM OLD.state_data THEN
    NEW.data_version = OLD.data_version + 1;
  END IF;
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_agent_state_version ON llmspell.agent_states;
CREATE TRIGGER trigger_agent_state_version BEFORE UPDATE ON llmspell.agent_states
  FOR EACH ROW EXECUTE FUNCTION llmspell.increment_agent_state_version();
