-- Vector embeddings. The vec_embeddings_<dimension> tables are made when the first vector of a dimension is written.
CREATE TABLE IF NOT EXISTS vector_metadata (
  rowid INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  tenant_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  dimension INTEGER NOT NULL CHECK (dimension IN (384, 768, 1536, 3072)),
  metadata TEXT NOT NULL DEFAULT '{}',
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_vector_metadata_tenant_scope ON vector_metadata(tenant_id, scope);
CREATE INDEX IF NOT EXISTS idx_vector_metadata_id ON vector_metadata(id);
CREATE INDEX IF NOT EXISTS idx_vector_metadata_dimension ON vector_metadata(dimension);
CREATE INDEX IF NOT EXISTS idx_vector_metadata_created ON vector_metadata(created_at);
