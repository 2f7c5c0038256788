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

-- Deletes what is older, up to a priority: what has a higher one stays. Row-level security leaves other tenants' alone.
CREATE OR REPLACE FUNCTION llmspell.cleanup_old_hook_executions(before_date TIMESTAMPTZ, min_retention_priority INTEGER DEFAULT 0)
RETURNS INTEGER LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  deleted INTEGER;
BEGIN
  DELETE FROM llmspell.hook_history h
  WHERE h.timestamp < before_date AND h.retention_priority <= min_retention_priority;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

-- One row about the tenant's executions. llmspell reads the counts and the average as never NULL, and so they are here.
CREATE OR REPLACE FUNCTION llmspell.get_hook_history_stats()
RETURNS TABLE (
  total_executions BIGINT,
  total_size_bytes BIGINT,
  executions_by_hook JSONB,
  executions_by_type JSONB,
  oldest_execution TIMESTAMPTZ,
  newest_execution TIMESTAMPTZ,
  avg_duration_ms NUMERIC
) LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH mine AS (
    SELECT * FROM llmspell.hook_history WHERE tenant_id = current_setting('app.current_tenant_id', true)
  )
  SELECT count(*),
    coalesce(sum(m.context_size::bigint + pg_column_size(m.result_data)), 0)::bigint,
    coalesce((SELECT jsonb_object_agg(hook_id, n) FROM (SELECT hook_id, count(*) AS n FROM mine GROUP BY 1) AS hooks), '{}'),
    coalesce((SELECT jsonb_object_agg(hook_type, n) FROM (SELECT hook_type, count(*) AS n FROM mine GROUP BY 1) AS types), '{}'),
    min(m.timestamp),
    max(m.timestamp),
    coalesce(avg(m.duration_ms), 0)
  FROM mine m
$$;
