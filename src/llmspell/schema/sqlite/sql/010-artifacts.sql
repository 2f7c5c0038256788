-- Artifacts and their content.
CREATE TABLE IF NOT EXISTS artifact_content (
  id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
  tenant_id TEXT NOT NULL,
  content_hash TEXT NOT NULL,
  data BLOB NOT NULL,
  size_bytes INTEGER NOT NULL,
  is_compressed INTEGER NOT NULL DEFAULT 0,
  original_size_bytes INTEGER,
  reference_count INTEGER NOT NULL DEFAULT 1,
  created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  last_accessed_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  UNIQUE (tenant_id, content_hash),
  CHECK (reference_count > 0),
  CHECK (size_bytes <= 104857600)
);
CREATE TABLE IF NOT EXISTS artifacts (
  id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
  tenant_id TEXT NOT NULL,
  artifact_id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  content_hash TEXT NOT NULL,
  metadata TEXT NOT NULL,
  name TEXT NOT NULL,
  artifact_type TEXT NOT NULL,
  mime_type TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  created_by TEXT,
  version INTEGER NOT NULL DEFAULT 1,
  parent_artifact_id TEXT,
  tags TEXT,
  stored_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  updated_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  UNIQUE (tenant_id, artifact_id),
  UNIQUE (tenant_id, session_id, sequence),
  FOREIGN KEY (tenant_id, content_hash) REFERENCES artifact_content(tenant_id, content_hash) ON DELETE RESTRICT,
  FOREIGN KEY (tenant_id, session_id) REFERENCES sessions(tenant_id, session_id) ON DELETE CASCADE,
  CHECK (version > 0),
  CHECK (sequence >= 0)
);
CREATE INDEX IF NOT EXISTS idx_artifact_content_tenant ON artifact_content(tenant_id);
CREATE INDEX IF NOT EXISTS idx_artifact_content_refcount ON artifact_content(reference_count) WHERE reference_count = 0;
CREATE INDEX IF NOT EXISTS idx_artifact_content_accessed ON artifact_content(last_accessed_at DESC);
CREATE INDEX IF NOT EXISTS idx_artifacts_session ON artifacts(tenant_id, session_id, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_artifacts_type ON artifacts(artifact_type, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_artifacts_content ON artifacts(tenant_id, content_hash);
CREATE INDEX IF NOT EXISTS idx_artifacts_name ON artifacts(name);
CREATE INDEX IF NOT EXISTS idx_artifacts_created ON artifacts(created_at DESC);
CREATE INDEX IF NOT EXISTS idx_artifacts_size ON artifacts(size_bytes DESC);
CREATE INDEX IF NOT EXISTS idx_artifacts_tenant_type ON artifacts(tenant_id, artifact_type, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_artifacts_metadata_type ON artifacts(json_extract(metadata, '$.type'));
CREATE INDEX IF NOT EXISTS idx_artifacts_metadata_created_by ON artifacts(json_extract(metadata, '$.created_by'));
