-- Vector embeddings, one table per dimension. 3072 has no HNSW index: pgvector indexes at most 2000 dimensions.
DO $$
DECLARE
  dimension int;
BEGIN
  FOREACH dimension IN ARRAY ARRAY[384, 768, 1536, 3072] LOOP
    EXECUTE format($sql$
      CREATE TABLE IF NOT EXISTS llmspell.vector_embeddings_%1$s (
        id UUID PRIMARY KEY DEFAULT @extschema:uuid-ossp@.uuid_generate_v4(),
        tenant_id VARCHAR(255) NOT NULL,
        scope VARCHAR(255) NOT NULL,
        embedding @extschema:vector@.vector(%1$s) NOT NULL,
        metadata JSONB NOT NULL DEFAULT '{}',
        created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
      );
      CREATE INDEX IF NOT EXISTS idx_vector_%1$s_tenant ON llmspell.vector_embeddings_%1$s (tenant_id);
      CREATE INDEX IF NOT EXISTS idx_vector_%1$s_scope ON llmspell.vector_embeddings_%1$s (scope);
      CREATE INDEX IF NOT EXISTS idx_vector_%1$s_created ON llmspell.vector_embeddings_%1$s (created_at);
    $sql$, dimension);
  END LOOP;
END $$;
CREATE INDEX IF NOT EXISTS idx_vector_384_hnsw ON llmspell.vector_embeddings_384
  USING hnsw (embedding @extschema:vector@.vector_cosine_ops) WITH (m = 16, ef_construction = 64);
CREATE INDEX IF NOT EXISTS idx_vector_768_hnsw ON llmspell.vector_embeddings_768
  USING hnsw (embedding @extschema:vector@.vector_cosine_ops) WITH (m = 16, ef_construction = 128);
CREATE INDEX IF NOT EXISTS idx_vector_1536_hnsw ON llmspell.vector_embeddings_1536
  USING hnsw (embedding @extschema:vector@.vector_cosine_ops) WITH (m = 24, ef_construction = 256);
