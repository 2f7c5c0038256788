-- Key-value store.
CREATE TABLE IF NOT EXISTS llmspell.kv_store (
  kv_id UUID PRIMARY KEY DEFAULT @extschema:uuid-ossp@.uuid_generate_v4(),
  tenant_id VARCHAR(255) NOT NULL,
  key VARCHAR(500) NOT NULL,
  value BYTEA NOT NULL,
  metadata JSONB,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  CONSTRAINT unique_kv_key UNIQUE (tenant_id, key)
);
CREATE INDEX IF NOT EXISTS idx_kv_store_tenant ON llmspell.kv_store (tenant_id);
CREATE INDEX IF NOT EXISTS idx_kv_store_key_prefix ON llmspell.kv_store (tenant_id, key text_pattern_ops);
CREATE INDEX IF NOT EXISTS idx_kv_store_updated ON llmspell.kv_store (updated_at DESC);
CREATE INDEX IF NOT EXISTS idx_kv_store_metadata_gin ON llmspell.kv_store USING gin (metadata)
  WHERE metadata IS NOT NULL;
CREATE OR REPLACE FUNCTION llmspell.update_kv_store_updated_at() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.updated_at = now();
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_kv_store_updated_at ON llmspell.kv_store;
CREATE TRIGGER trigger_kv_store_updated_at BEFORE UPDATE ON llmspell.kv_store
  FOR EACH ROW EXECUTE FUNCTION llmspell.update_kv_store_updated_at();
