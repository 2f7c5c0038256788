-- Encrypted provider keys; never exported, never imported.
-- The table itself does without pgcrypto; llmspell needs it to read and write keys.
DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pgcrypto SCHEMA @extschema@;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported OR invalid_parameter_value THEN
  RAISE WARNING 'extension pgcrypto could not be created (%); llmspell needs it for API keys', SQLERRM;
END $$;
CREATE TABLE IF NOT EXISTS llmspell.api_keys (
  key_id VARCHAR(255) PRIMARY KEY,
  tenant_id VARCHAR(255) NOT NULL,
  service VARCHAR(255) NOT NULL,
  encrypted_key BYTEA NOT NULL,
  key_metadata JSONB NOT NULL DEFAULT '{}',
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  last_used_at TIMESTAMPTZ,
  expires_at TIMESTAMPTZ,
  is_active BOOLEAN NOT NULL DEFAULT true,
  usage_count BIGINT NOT NULL DEFAULT 0,
  rotated_from VARCHAR(255),
  deactivated_at TIMESTAMPTZ,
  UNIQUE (tenant_id, service, is_active)
);
CREATE INDEX IF NOT EXISTS idx_api_keys_tenant_service ON llmspell.api_keys (tenant_id, service);
CREATE INDEX IF NOT EXISTS idx_api_keys_expiration ON llmspell.api_keys (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_api_keys_active ON llmspell.api_keys (is_active) WHERE is_active = true;
CREATE INDEX IF NOT EXISTS idx_api_keys_metadata ON llmspell.api_keys USING gin (key_metadata);

DO $$
DECLARE
  mine text := $q$tenant_id = current_setting('app.current_tenant_id', true)$q$;
  rule record;
BEGIN
  ALTER TABLE llmspell.api_keys ENABLE ROW LEVEL SECURITY;
  ALTER TABLE llmspell.api_keys FORCE ROW LEVEL SECURITY;
  FOR rule IN
    SELECT * FROM (VALUES
      ('select', format('USING (%s)', mine)),
      ('insert', format('WITH CHECK (%s)', mine)),
      ('update', format('USING (%1$s) WITH CHECK (%1$s)', mine)),
      ('delete', format('USING (%s)', mine))
    ) AS policy (command, condition)
  LOOP
    EXECUTE format('DROP POLICY IF EXISTS api_keys_tenant_%s ON llmspell.api_keys', rule.command);
    EXECUTE format('CREATE POLICY api_keys_tenant_%1$s ON llmspell.api_keys FOR %1$s %2$s', rule.command, rule.condition);
  END LOOP;
END $$;

-- The default privileges of V12 cover it only when V12 was applied by this role.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'llmspell_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON llmspell.api_keys TO llmspell_app;
  END IF;
END $$;

-- Switches a key of the tenant off and names its successor, which the application then stores.
CREATE OR REPLACE FUNCTION llmspell.rotate_api_key(old_key_id VARCHAR(255))
RETURNS VARCHAR(255) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE llmspell.api_keys k SET is_active = false, deactivated_at = now()
  WHERE k.key_id = old_key_id AND k.tenant_id = current_setting('app.current_tenant_id', true);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the current tenant has no API key %', old_key_id;
  END IF;
  RETURN format('%s_rotated_%s', old_key_id, floor(extract(epoch FROM now()))::bigint);
END $$;

-- One row about the tenant's keys. llmspell reads all of it as never NULL, and so it is here.
CREATE OR REPLACE FUNCTION llmspell.get_api_key_stats()
RETURNS TABLE (
  total_keys BIGINT,
  active_keys BIGINT,
  expired_keys BIGINT,
  keys_by_service JSONB,
  total_usage BIGINT,
  avg_usage_per_key NUMERIC
) LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH mine AS (
    SELECT * FROM llmspell.api_keys WHERE tenant_id = current_setting('app.current_tenant_id', true)
  )
  SELECT count(*),
    count(*) FILTER (WHERE m.is_active),
    count(*) FILTER (WHERE m.expires_at < now()),
    coalesce((SELECT jsonb_object_agg(service, n) FROM (SELECT service, count(*) AS n FROM mine GROUP BY 1) AS services), '{}'),
    coalesce(sum(m.usage_count), 0)::bigint,
    coalesce(avg(m.usage_count), 0)
  FROM mine m
$$;

-- Deletes the tenant's keys whose time is over, and tells which.
CREATE OR REPLACE FUNCTION llmspell.cleanup_expired_api_keys()
RETURNS TABLE (deleted_key_id VARCHAR(255), service VARCHAR(255), expired_at TIMESTAMPTZ)
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM llmspell.api_keys k
  WHERE k.expires_at < now() AND k.tenant_id = current_setting('app.current_tenant_id', true)
  RETURNING k.key_id, k.service, k.expires_at
$$;
