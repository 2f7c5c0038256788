-- Runs: loads over several connections (`--jobs`). What each part of one wrote, and what was dropped or made besides, so that
-- it can be resumed and undone. It is the owner's alone: default privileges would give it to the application's role.
CREATE TABLE IF NOT EXISTS llmspell.storage_runs (
  run INTEGER PRIMARY KEY,
  state TEXT NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 1,
  jobs INTEGER NOT NULL,
  part_bytes INTEGER NOT NULL,
  source TEXT NOT NULL,
  settings TEXT NOT NULL,
  -- The server and the database that its transactions' numbers are of: those of a restored dump are others.
  place TEXT NOT NULL,
  phase TEXT NOT NULL DEFAULT 'rows',
  started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  changed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  CONSTRAINT storage_runs_state CHECK (state IN ('loading', 'undoing', 'done', 'undone'))
);
-- One at a time.
CREATE UNIQUE INDEX IF NOT EXISTS storage_runs_unfinished ON llmspell.storage_runs ((1)) WHERE state IN ('loading', 'undoing');
CREATE TABLE IF NOT EXISTS llmspell.storage_parts (
  run INTEGER NOT NULL REFERENCES llmspell.storage_runs (run),
  part INTEGER NOT NULL,
  section TEXT NOT NULL,
  records BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  digest TEXT NOT NULL,
  -- The one that loaded it: xmin of its rows.
  transaction XID8 NOT NULL,
  loaded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (run, part)
);
CREATE TABLE IF NOT EXISTS llmspell.storage_steps (
  run INTEGER NOT NULL REFERENCES llmspell.storage_runs (run),
  step INTEGER NOT NULL,
  what TEXT NOT NULL,
  section TEXT NOT NULL,
  name TEXT NOT NULL,
  definition TEXT NOT NULL DEFAULT '',
  done BOOLEAN NOT NULL DEFAULT false,
  PRIMARY KEY (run, step),
  CONSTRAINT storage_steps_what CHECK (what IN ('section', 'index', 'partition'))
);
DO $$
DECLARE
  granted record;
BEGIN
  FOR granted IN
    SELECT c.oid::regclass AS name, coalesce(pg_get_userbyid(nullif(a.grantee, 0))::text, '') AS grantee
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE c.relnamespace = 'llmspell'::regnamespace AND c.relname IN ('storage_runs', 'storage_parts', 'storage_steps')
      AND a.grantee <> c.relowner GROUP BY 1, 2
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s', granted.name,
      CASE granted.grantee WHEN '' THEN 'PUBLIC' ELSE quote_ident(granted.grantee) END);
  END LOOP;
END $$;
