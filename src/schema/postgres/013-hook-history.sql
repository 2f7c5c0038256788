-- Hook executions.
CREATE TABLE IF NOT EXISTS llmspell.hook_history (
  execution_id UUID PRIMARY KEY,
  tenant_id VARCHAR(255) NOT NULL,
  hook_id VARCHAR(255) NOT NULL,
  hook_type VARCHAR(255) NOT NULL,
  correlation_id UUID NOT NULL,
  hook_context BYTEA NOT NULL,
  result_data JSONB NOT NULL,
  timestamp TIMESTAMPTZ NOT NULL,
  duration_ms INTEGER NOT NULL,
  triggering_component VARCHAR(255) NOT NULL,
  component_id VARCHAR(255) NOT NULL,
  modified_operation BOOLEAN NOT NULL DEFAULT false,
  tags TEXT[] DEFAULT ARRAY[]::TEXT[],
  retention_priority INTEGER NOT NULL DEFAULT 0,
  context_size INTEGER NOT NULL,
  contains_sensitive_data BOOLEAN NOT NULL DEFAULT false,
  metadata JSONB NOT NULL DEFAULT '{}',
  created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS idx_hook_history_hook_time ON llmspell.hook_history (hook_id, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_hook_history_correlation ON llmspell.hook_history (correlation_id);
CREATE INDEX IF NOT EXISTS idx_hook_history_type ON llmspell.hook_history (hook_type);
CREATE INDEX IF NOT EXISTS idx_hook_history_tenant_time ON llmspell.hook_history (tenant_id, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_hook_history_retention ON llmspell.hook_history (retention_priority, timestamp);
CREATE INDEX IF NOT EXISTS idx_hook_history_metadata ON llmspell.hook_history USING gin (metadata);
CREATE INDEX IF NOT EXISTS idx_hook_history_tags ON llmspell.hook_history USING gin (tags);

DO $$
DECLARE
  mine text := $q$tenant_id = current_setting('app.current_tenant_id', true)$q$;
  rule record;
BEGIN
  ALTER TABLE llmspell.hook_history ENABLE ROW LEVEL SECURITY;
  ALTER TABLE llmspell.hook_history FORCE ROW LEVEL SECURITY;
  FOR rule IN
    SELECT * FROM (VALUES
      ('select', format('USING (%s)', mine)),
      ('insert', format('WITH CHECK (%s)', mine)),
      ('update', format('USING (%1$s) WITH CHECK (%1$s)', mine)),
      ('delete', format('USING (%s)', mine))
    ) AS policy (command, condition)
  LOOP
    EXECUTE format('DROP POLICY IF EXISTS hook_history_tenant_%s ON llmspell.hook_history', rule.command);
    EXECUTE format('CREATE POLICY hook_history_tenant_%1$s ON llmspell.hook_history FOR %1$s %2$s', rule.command, rule.condition);
  END LOOP;
END $$;

-- The default privileges of V12 cover it only when V12 was applied by this role.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'llmspell_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON llmspell.hook_history TO llmspell_app;
  END IF;
END $$;
