-- Extensions and the schema. vchord (VectorChord) brings pgvector along; without it pgvector alone does.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vchord')
    AND NOT EXISTS (SELECT FROM pg_extension WHERE extname IN ('vchord', 'vector'))
  THEN
    BEGIN
      CREATE EXTENSION vchord CASCADE;
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'extension vchord could not be created (%); plain vector is used', SQLERRM;
    END;
  END IF;
END $$;
CREATE EXTENSION IF NOT EXISTS vector;
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";
-- CREATE SCHEMA IF NOT EXISTS asks for the privilege even where the schema is there.
DO $$
BEGIN
  IF to_regnamespace('llmspell') IS NULL THEN
    CREATE SCHEMA llmspell;
  END IF;
END $$;
