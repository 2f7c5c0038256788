-- Sessions.
CREATE TABLE IF NOT EXISTS llmspell.sessions (
  tenant_id VARCHAR(255) NOT NULL,
  session_id UUID NOT NULL,
  session_data JSONB NOT NULL,
  status VARCHAR(20) NOT NULL DEFAULT 'active',
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  last_accessed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  expires_at TIMESTAMPTZ,
  artifact_count INTEGER NOT NULL DEFAULT 0,
  updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, session_id),
  CONSTRAINT valid_session_status CHECK (status IN ('active', 'archived', 'expired')),
  CONSTRAINT non_negative_artifact_count CHECK (artifact_count >= 0)
);
CREATE INDEX IF NOT EXISTS idx_sessions_tenant ON llmspell.sessions (tenant_id);
CREATE INDEX IF NOT EXISTS idx_sessions_tenant_session ON llmspell.sessions (tenant_id, session_id);
CREATE INDEX IF NOT EXISTS idx_sessions_status ON llmspell.sessions (status);
CREATE INDEX IF NOT EXISTS idx_sessions_expires ON llmspell.sessions (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_sessions_created ON llmspell.sessions (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_sessions_accessed ON llmspell.sessions (last_accessed_at DESC);
CREATE INDEX IF NOT EXISTS idx_sessions_data_gin ON llmspell.sessions USING gin (session_data);
CREATE INDEX IF NOT EXISTS idx_sessions_tenant_status ON llmspell.sessions (tenant_id, status);
CREATE INDEX IF NOT EXISTS idx_sessions_tenant_expires ON llmspell.sessions (tenant_id, expires_at)
  WHERE expires_at IS NOT NULL;
CREATE OR REPLACE FUNCTION llmspell.update_sessions_updated_at() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.updated_at = now();
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_sessions_updated_at ON llmspell.sessions;
CREATE TRIGGER trigger_sessions_updated_at BEFORE UPDATE ON llmspell.sessions
  FOR EACH ROW EXECUTE FUNCTION llmspell.update_sessions_updated_at();
CREATE OR REPLACE FUNCTION llmspell.update_sessions_accessed_at() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.last_accessed_at IS NULL OR NEW.last_accessed_at < now() - INTERVAL '1 minute' THEN
    NEW.last_accessed_at = now();
  END IF;
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_sessions_accessed_at ON llmspell.sessions;
CREATE TRIGGER trigger_sessions_accessed_at BEFORE UPDATE ON llmspell.sessions
  FOR EACH ROW EXECUTE FUNCTION llmspell.update_sessions_accessed_at();
