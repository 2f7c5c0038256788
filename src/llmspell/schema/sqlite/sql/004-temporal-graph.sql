-- Temporal knowledge graph. 9999999999 is infinity.
CREATE TABLE IF NOT EXISTS entities (
  entity_id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  entity_type TEXT NOT NULL,
  name TEXT NOT NULL,
  properties TEXT NOT NULL DEFAULT '{}',
  valid_time_start INTEGER NOT NULL,
  valid_time_end INTEGER NOT NULL DEFAULT 9999999999,
  transaction_time_start INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  transaction_time_end INTEGER NOT NULL DEFAULT 9999999999,
  created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  CHECK (valid_time_start < valid_time_end),
  CHECK (transaction_time_start < transaction_time_end)
);
CREATE INDEX IF NOT EXISTS idx_entities_tenant ON entities(tenant_id);
CREATE INDEX IF NOT EXISTS idx_entities_type ON entities(entity_type);
CREATE INDEX IF NOT EXISTS idx_entities_name ON entities(name);
CREATE INDEX IF NOT EXISTS idx_entities_valid_time_start ON entities(valid_time_start);
CREATE INDEX IF NOT EXISTS idx_entities_valid_time_end ON entities(valid_time_end);
CREATE INDEX IF NOT EXISTS idx_entities_tx_time_start ON entities(transaction_time_start);
CREATE INDEX IF NOT EXISTS idx_entities_tx_time_end ON entities(transaction_time_end);
CREATE TABLE IF NOT EXISTS relationships (
  relationship_id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  from_entity TEXT NOT NULL,
  to_entity TEXT NOT NULL,
  relationship_type TEXT NOT NULL,
  properties TEXT NOT NULL DEFAULT '{}',
  valid_time_start INTEGER NOT NULL,
  valid_time_end INTEGER NOT NULL DEFAULT 9999999999,
  transaction_time_start INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  transaction_time_end INTEGER NOT NULL DEFAULT 9999999999,
  created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
  FOREIGN KEY (from_entity) REFERENCES entities(entity_id) ON DELETE CASCADE,
  FOREIGN KEY (to_entity) REFERENCES entities(entity_id) ON DELETE CASCADE,
  CHECK (valid_time_start < valid_time_end),
  CHECK (transaction_time_start < transaction_time_end)
);
CREATE INDEX IF NOT EXISTS idx_relationships_tenant ON relationships(tenant_id);
CREATE INDEX IF NOT EXISTS idx_relationships_from ON relationships(from_entity);
CREATE INDEX IF NOT EXISTS idx_relationships_to ON relationships(to_entity);
CREATE INDEX IF NOT EXISTS idx_relationships_type ON relationships(relationship_type);
CREATE INDEX IF NOT EXISTS idx_relationships_from_type ON relationships(from_entity, relationship_type);
CREATE INDEX IF NOT EXISTS idx_relationships_valid_time_start ON relationships(valid_time_start);
CREATE INDEX IF NOT EXISTS idx_relationships_valid_time_end ON relationships(valid_time_end);
CREATE INDEX IF NOT EXISTS idx_relationships_tx_time_start ON relationships(transaction_time_start);
CREATE INDEX IF NOT EXISTS idx_relationships_tx_time_end ON relationships(transaction_time_end);
