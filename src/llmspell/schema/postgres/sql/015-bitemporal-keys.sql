-- One entity or relationship has many versions: the key takes in transaction_time_start, and so nothing can refer to an
-- entity by its id alone.
ALTER TABLE llmspell.relationships DROP CONSTRAINT IF EXISTS fk_from_entity, DROP CONSTRAINT IF EXISTS fk_to_entity;
DO $$
DECLARE
  wanted record;
BEGIN
  FOR wanted IN SELECT * FROM (VALUES ('entities', 'entity_id'), ('relationships', 'relationship_id')) AS t (name, id) LOOP
    IF NOT EXISTS (
      SELECT FROM pg_constraint
      WHERE conrelid = format('llmspell.%I', wanted.name)::regclass AND contype = 'p' AND cardinality(conkey) = 2
    ) THEN
      EXECUTE format('ALTER TABLE llmspell.%1$I DROP CONSTRAINT IF EXISTS %2$I, ADD PRIMARY KEY (%3$I, transaction_time_start)',
        wanted.name, wanted.name || '_pkey', wanted.id);
    END IF;
  END LOOP;
END $$;
CREATE INDEX IF NOT EXISTS idx_entities_id_lookup ON llmspell.entities (entity_id);
CREATE INDEX IF NOT EXISTS idx_relationships_id_lookup ON llmspell.relationships (relationship_id);
