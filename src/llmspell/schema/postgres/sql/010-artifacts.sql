-- Artifacts and their content.
CREATE TABLE IF NOT EXISTS llmspell.artifact_content (
  tenant_id VARCHAR(255) NOT NULL,
  content_hash VARCHAR(64) NOT NULL,
  storage_type VARCHAR(20) NOT NULL,
  data BYTEA,
  large_object_oid OID,
  size_bytes BIGINT NOT NULL,
  is_compressed BOOLEAN NOT NULL DEFAULT false,
  original_size_bytes BIGINT,
  reference_count INTEGER NOT NULL DEFAULT 1,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  last_accessed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, content_hash),
  CONSTRAINT valid_storage_type CHECK (storage_type IN ('bytea', 'large_object')),
  CONSTRAINT positive_reference_count CHECK (reference_count > 0),
  CONSTRAINT bytea_storage_valid CHECK (
    (storage_type = 'bytea' AND data IS NOT NULL AND large_object_oid IS NULL)
    OR (storage_type = 'large_object' AND large_object_oid IS NOT NULL AND data IS NULL)
  ),
  CONSTRAINT max_artifact_size CHECK (size_bytes <= 104857600)
);
CREATE INDEX IF NOT EXISTS idx_artifact_content_tenant ON llmspell.artifact_content (tenant_id);
CREATE INDEX IF NOT EXISTS idx_artifact_content_refcount ON llmspell.artifact_content (reference_count)
  WHERE reference_count = 0;
CREATE INDEX IF NOT EXISTS idx_artifact_content_large_objects ON llmspell.artifact_content (large_object_oid)
  WHERE large_object_oid IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_artifact_content_accessed ON llmspell.artifact_content (last_accessed_at DESC);
CREATE TABLE IF NOT EXISTS llmspell.artifacts (
  tenant_id VARCHAR(255) NOT NULL,
  artifact_id VARCHAR(512) NOT NULL,
  session_id UUID NOT NULL,
  sequence BIGINT NOT NULL,
  content_hash VARCHAR(64) NOT NULL,
  metadata JSONB NOT NULL,
  name VARCHAR(255) NOT NULL,
  artifact_type VARCHAR(50) NOT NULL,
  mime_type VARCHAR(255) NOT NULL,
  size_bytes BIGINT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  created_by VARCHAR(255),
  version INTEGER NOT NULL DEFAULT 1,
  parent_artifact_id VARCHAR(512),
  tags TEXT[],
  stored_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, artifact_id),
  FOREIGN KEY (tenant_id, content_hash) REFERENCES llmspell.artifact_content (tenant_id, content_hash) ON DELETE RESTRICT,
  FOREIGN KEY (tenant_id, session_id) REFERENCES llmspell.sessions (tenant_id, session_id) ON DELETE CASCADE,
  CONSTRAINT unique_session_sequence UNIQUE (tenant_id, session_id, sequence),
  CONSTRAINT positive_version CHECK (version > 0),
  CONSTRAINT non_negative_sequence CHECK (sequence >= 0)
);
CREATE INDEX IF NOT EXISTS idx_artifacts_session ON llmspell.artifacts (tenant_id, session_id, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_artifacts_type ON llmspell.artifacts (artifact_type, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_artifacts_content ON llmspell.artifacts (tenant_id, content_hash);
CREATE INDEX IF NOT EXISTS idx_artifacts_name ON llmspell.artifacts (name);
CREATE INDEX IF NOT EXISTS idx_artifacts_created ON llmspell.artifacts (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_artifacts_size ON llmspell.artifacts (size_bytes DESC);
CREATE INDEX IF NOT EXISTS idx_artifacts_tags ON llmspell.artifacts USING gin (tags);
CREATE INDEX IF NOT EXISTS idx_artifacts_metadata ON llmspell.artifacts USING gin (metadata);
CREATE INDEX IF NOT EXISTS idx_artifacts_tenant_type ON llmspell.artifacts (tenant_id, artifact_type, created_at DESC);
CREATE OR REPLACE FUNCTION llmspell.update_artifacts_updated_at() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.updated_at = now();
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_artifacts_updated_at ON llmspell.artifacts;
CREATE TRIGGER trigger_artifacts_updated_at BEFORE UPDATE ON llmspell.artifacts
  FOR EACH ROW EXECUTE FUNCTION llmspell.update_artifacts_updated_at();
CREATE OR REPLACE FUNCTION llmspell.increment_content_refcount() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE llmspell.artifact_content SET reference_count = reference_count + 1, last_accessed_at = now()
  WHERE tenant_id = NEW.tenant_id AND content_hash = NEW.content_hash;
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_increment_refcount ON llmspell.artifacts;
CREATE TRIGGER trigger_increment_refcount AFTER INSERT ON llmspell.artifacts
  FOR EACH ROW EXECUTE FUNCTION llmspell.increment_content_refcount();
CREATE OR REPLACE FUNCTION llmspell.decrement_content_refcount() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE llmspell.artifact_content SET reference_count = reference_count - 1
  WHERE tenant_id = OLD.tenant_id AND content_hash = OLD.content_hash;
  RETURN OLD;
END $$;
DROP TRIGGER IF EXISTS trigger_decrement_refcount ON llmspell.artifacts;
CREATE TRIGGER trigger_decrement_refcount AFTER DELETE ON llmspell.artifacts
  FOR EACH ROW EXECUTE FUNCTION llmspell.decrement_content_refcount();
CREATE OR REPLACE FUNCTION llmspell.update_content_accessed_at() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.last_accessed_at IS NULL OR NEW.last_accessed_at < now() - INTERVAL '1 minute' THEN
    NEW.last_accessed_at = now();
  END IF;
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_content_accessed_at ON llmspell.artifact_content;
CREATE TRIGGER trigger_content_accessed_at BEFORE UPDATE ON llmspell.artifact_content
  FOR EACH ROW EXECUTE FUNCTION llmspell.update_content_accessed_at();
