-- Key-value store.
CREATE TABLE IF NOT EXISTS kv_store (
  kv_id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
  tenant_id TEXT NOT NULL,
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  metadata TEXT,
  created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  updated_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  UNIQUE (tenant_id, key)
);
CREATE INDEX IF NOT EXISTS idx_kv_store_tenant ON kv_store(tenant_id);
CREATE INDEX IF NOT EXISTS idx_kv_store_key_prefix ON kv_store(tenant_id, key);
CREATE INDEX IF NOT EXISTS idx_kv_store_updated ON kv_store(updated_at DESC);
