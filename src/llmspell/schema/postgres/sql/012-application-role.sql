-- The application's role, its rights, and row-level security on every table of V2 to V11.
DO $$
DECLARE
  password text := nullif(current_setting('llmspell_storage.app_password', true), '');
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'llmspell_app') THEN
    CREATE ROLE llmspell_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    IF password IS NOT NULL THEN
      EXECUTE format('ALTER ROLE llmspell_app PASSWORD %L', password);
    END IF;
  END IF;
EXCEPTION
  -- Roles belong to the whole server: a migration of another database may be making it at this moment.
  WHEN duplicate_object OR unique_violation THEN NULL;
  WHEN insufficient_privilege THEN
    RAISE WARNING 'role llmspell_app is missing and % may not create roles; have an administrator create it, then run the migration again', current_user;
END $$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'llmspell_app') THEN
    GRANT USAGE ON SCHEMA llmspell TO llmspell_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA llmspell TO llmspell_app;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA llmspell TO llmspell_app;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA llmspell TO llmspell_app;
    ALTER DEFAULT PRIVILEGES IN SCHEMA llmspell GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO llmspell_app;
    ALTER DEFAULT PRIVILEGES IN SCHEMA llmspell GRANT USAGE, SELECT ON SEQUENCES TO llmspell_app;
    ALTER DEFAULT PRIVILEGES IN SCHEMA llmspell GRANT EXECUTE ON FUNCTIONS TO llmspell_app;
  END IF;
END $$;

DO $$
DECLARE
  mine text := $q$tenant_id = current_setting('app.current_tenant_id', true)$q$;
  name text;
  rule record;
BEGIN
  FOREACH name IN ARRAY ARRAY[
    'test_data',
    'vector_embeddings_384', 'vector_embeddings_768', 'vector_embeddings_1536', 'vector_embeddings_3072',
    'entities', 'relationships', 'procedural_patterns', 'agent_states', 'kv_store', 'workflow_states',
    'sessions', 'artifact_content', 'artifacts', 'event_log'
  ] LOOP
    EXECUTE format('ALTER TABLE llmspell.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
    FOR rule IN
      SELECT * FROM (VALUES
        ('select', format('USING (%s)', mine)),
        ('insert', format('WITH CHECK (%s)', mine)),
        ('update', format('USING (%1$s) WITH CHECK (%1$s)', mine)),
        ('delete', format('USING (%s)', mine))
      ) AS policy (command, condition)
    LOOP
      EXECUTE format('DROP POLICY IF EXISTS tenant_isolation_%s ON llmspell.%I', rule.command, name);
      EXECUTE format('CREATE POLICY tenant_isolation_%1$s ON llmspell.%2$I FOR %1$s %3$s',
        rule.command, name, rule.condition);
    END LOOP;
  END LOOP;
END $$;
