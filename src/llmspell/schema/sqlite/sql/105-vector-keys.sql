-- rebuild: vector_metadata
-- unique: id, dimension
-- One id may be in several dimensions, as in PostgreSQL's four tables.
CREATE TABLE vector_metadata_rebuilt (
  rowid INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  dimension INTEGER NOT NULL CHECK (dimension IN (384, 768, 1536, 3072)),
  metadata TEXT NOT NULL DEFAULT '{}',
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  created_at_us INTEGER,
  updated_at_us INTEGER,
  UNIQUE (id, dimension)
);
