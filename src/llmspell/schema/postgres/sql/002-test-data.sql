-- llmspell's table for trying row-level security; never exported.
CREATE TABLE IF NOT EXISTS llmspell.test_data (
  id UUID PRIMARY KEY DEFAULT @extschema:uuid-ossp@.uuid_generate_v4(),
  tenant_id VARCHAR(255) NOT NULL,
  value TEXT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS idx_test_data_tenant ON llmspell.test_data (tenant_id);
