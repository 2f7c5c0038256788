-- The schema, and the extensions. postgres-extensions.ts says what stands between the @ signs.
-- CREATE SCHEMA IF NOT EXISTS asks for the privilege even where the schema is there.
DO $$
BEGIN
  IF to_regnamespace('llmspell') IS NULL THEN
    CREATE SCHEMA llmspell;
  END IF;
END $$;
-- vchord (VectorChord) brings pgvector along; without it pgvector alone does.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vchord')
    AND NOT EXISTS (SELECT FROM pg_extension WHERE extname IN ('vchord', 'vector'))
  THEN
    BEGIN
      CREATE EXTENSION vchord SCHEMA @extschema@ CASCADE;
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'extension vchord could not be created (%); plain vector is used', SQLERRM;
    END;
  END IF;
END $$;
CREATE EXTENSION IF NOT EXISTS vector SCHEMA @extschema@;
CREATE EXTENSION IF NOT EXISTS "uuid-ossp" SCHEMA @extschema@;
