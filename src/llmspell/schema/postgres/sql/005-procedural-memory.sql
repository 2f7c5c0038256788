-- Patterns of procedural memory.
CREATE TABLE IF NOT EXISTS llmspell.procedural_patterns (
  pattern_id UUID PRIMARY KEY DEFAULT @extschema:uuid-ossp@.uuid_generate_v4(),
  tenant_id VARCHAR(255) NOT NULL,
  scope VARCHAR(500) NOT NULL,
  key VARCHAR(500) NOT NULL,
  value TEXT NOT NULL,
  frequency INTEGER NOT NULL DEFAULT 1,
  first_seen TIMESTAMPTZ NOT NULL DEFAULT now(),
  last_seen TIMESTAMPTZ NOT NULL DEFAULT now(),
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  CONSTRAINT unique_procedural_pattern UNIQUE (tenant_id, scope, key, value),
  CONSTRAINT positive_frequency CHECK (frequency > 0)
);
CREATE INDEX IF NOT EXISTS idx_procedural_patterns_tenant ON llmspell.procedural_patterns (tenant_id);
CREATE INDEX IF NOT EXISTS idx_procedural_patterns_scope_key ON llmspell.procedural_patterns (scope, key);
CREATE INDEX IF NOT EXISTS idx_procedural_patterns_frequency ON llmspell.procedural_patterns (frequency DESC);
CREATE INDEX IF NOT EXISTS idx_procedural_patterns_last_seen ON llmspell.procedural_patterns (last_seen DESC);
CREATE INDEX IF NOT EXISTS idx_procedural_patterns_lookup ON llmspell.procedural_patterns (tenant_id, scope, key, value)
  WHERE frequency >= 3;
CREATE OR REPLACE FUNCTION llmspell.update_procedural_patterns_updated_at() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.updated_at = now();
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_procedural_patterns_updated_at ON llmspell.procedural_patterns;
CREATE TRIGGER trigger_procedural_patterns_updated_at BEFORE UPDATE ON llmspell.procedural_patterns
  FOR EACH ROW EXECUTE FUNCTION llmspell.update_procedural_patterns_updated_at();
