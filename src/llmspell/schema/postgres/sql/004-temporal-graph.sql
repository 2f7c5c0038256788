-- Temporal knowledge graph. V15 widens the primary keys and drops the foreign keys.
CREATE TABLE IF NOT EXISTS llmspell.entities (
  entity_id UUID PRIMARY KEY DEFAULT @extschema:uuid-ossp@.uuid_generate_v4(),
  tenant_id VARCHAR(255) NOT NULL,
  entity_type VARCHAR(255) NOT NULL,
  name VARCHAR(500) NOT NULL,
  properties JSONB NOT NULL DEFAULT '{}',
  valid_time_start TIMESTAMPTZ NOT NULL,
  valid_time_end TIMESTAMPTZ NOT NULL DEFAULT 'infinity',
  transaction_time_start TIMESTAMPTZ NOT NULL DEFAULT now(),
  transaction_time_end TIMESTAMPTZ NOT NULL DEFAULT 'infinity',
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  CONSTRAINT valid_time_range CHECK (valid_time_start < valid_time_end),
  CONSTRAINT tx_time_range CHECK (transaction_time_start < transaction_time_end)
);
CREATE INDEX IF NOT EXISTS idx_entities_tenant ON llmspell.entities (tenant_id);
CREATE INDEX IF NOT EXISTS idx_entities_type ON llmspell.entities (entity_type);
CREATE INDEX IF NOT EXISTS idx_entities_name ON llmspell.entities (name);
CREATE INDEX IF NOT EXISTS idx_entities_valid_time ON llmspell.entities
  USING gist (tstzrange(valid_time_start, valid_time_end));
CREATE INDEX IF NOT EXISTS idx_entities_tx_time ON llmspell.entities
  USING gist (tstzrange(transaction_time_start, transaction_time_end));
CREATE INDEX IF NOT EXISTS idx_entities_properties ON llmspell.entities USING gin (properties);
CREATE TABLE IF NOT EXISTS llmspell.relationships (
  relationship_id UUID PRIMARY KEY DEFAULT @extschema:uuid-ossp@.uuid_generate_v4(),
  tenant_id VARCHAR(255) NOT NULL,
  from_entity UUID NOT NULL,
  to_entity UUID NOT NULL,
  relationship_type VARCHAR(255) NOT NULL,
  properties JSONB NOT NULL DEFAULT '{}',
  valid_time_start TIMESTAMPTZ NOT NULL,
  valid_time_end TIMESTAMPTZ NOT NULL DEFAULT 'infinity',
  transaction_time_start TIMESTAMPTZ NOT NULL DEFAULT now(),
  transaction_time_end TIMESTAMPTZ NOT NULL DEFAULT 'infinity',
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  CONSTRAINT fk_from_entity FOREIGN KEY (from_entity) REFERENCES llmspell.entities (entity_id) ON DELETE CASCADE,
  CONSTRAINT fk_to_entity FOREIGN KEY (to_entity) REFERENCES llmspell.entities (entity_id) ON DELETE CASCADE,
  CONSTRAINT valid_time_range CHECK (valid_time_start < valid_time_end),
  CONSTRAINT tx_time_range CHECK (transaction_time_start < transaction_time_end)
);
CREATE INDEX IF NOT EXISTS idx_relationships_tenant ON llmspell.relationships (tenant_id);
CREATE INDEX IF NOT EXISTS idx_relationships_from ON llmspell.relationships (from_entity);
CREATE INDEX IF NOT EXISTS idx_relationships_to ON llmspell.relationships (to_entity);
CREATE INDEX IF NOT EXISTS idx_relationships_type ON llmspell.relationships (relationship_type);
CREATE INDEX IF NOT EXISTS idx_relationships_from_type ON llmspell.relationships (from_entity, relationship_type);
CREATE INDEX IF NOT EXISTS idx_relationships_valid_time ON llmspell.relationships
  USING gist (tstzrange(valid_time_start, valid_time_end));
CREATE INDEX IF NOT EXISTS idx_relationships_tx_time ON llmspell.relationships
  USING gist (tstzrange(transaction_time_start, transaction_time_end));
CREATE INDEX IF NOT EXISTS idx_relationships_properties ON llmspell.relationships USING gin (properties);
