-- The names that the data migration guide uses, as views. Before PostgreSQL 15 a view would show its owner's rows rather
-- than the reader's, past row-level security: there are none there.
DO $$
DECLARE
  dimension int;
BEGIN
  IF current_setting('server_version_num')::int < 150000 THEN
    RAISE WARNING 'the views graph_entities, graph_relationships and embeddings_<dimension> need PostgreSQL 15';
    RETURN;
  END IF;
  EXECUTE $sql$
    CREATE OR REPLACE VIEW llmspell.graph_entities WITH (security_invoker = true) AS
    SELECT entity_id, tenant_id, entity_type, name, properties, valid_time_start, valid_time_end,
           transaction_time_start, transaction_time_end, created_at
    FROM llmspell.entities
  $sql$;
  EXECUTE $sql$
    CREATE OR REPLACE VIEW llmspell.graph_relationships WITH (security_invoker = true) AS
    SELECT relationship_id, tenant_id, from_entity AS source_entity_id, to_entity AS target_entity_id,
           relationship_type, properties, valid_time_start, valid_time_end,
           transaction_time_start, transaction_time_end, created_at
    FROM llmspell.relationships
  $sql$;
  FOREACH dimension IN ARRAY ARRAY[384, 768, 1536, 3072] LOOP
    EXECUTE format($sql$
      CREATE OR REPLACE VIEW llmspell.embeddings_%1$s WITH (security_invoker = true) AS
      SELECT id, tenant_id, scope, embedding, metadata, created_at, updated_at
      FROM llmspell.vector_embeddings_%1$s
    $sql$, dimension);
  END LOOP;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'llmspell_app') THEN
    GRANT SELECT ON llmspell.graph_entities, llmspell.graph_relationships, llmspell.embeddings_384,
      llmspell.embeddings_768, llmspell.embeddings_1536, llmspell.embeddings_3072 TO llmspell_app;
  END IF;
END $$;
