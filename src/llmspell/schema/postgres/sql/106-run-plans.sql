-- Plans of runs whose parts workers load (`--queue`): where the run's records come from, and the bounds of each part. A job in the
-- queue holds numbers only; what it means stands here. The owner's alone, as the rest of the ledger.
CREATE TABLE IF NOT EXISTS llmspell.storage_plans (
  run INTEGER PRIMARY KEY REFERENCES llmspell.storage_runs (run) ON DELETE CASCADE,
  -- Tells this run from one of another database that has the same number.
  token TEXT NOT NULL,
  from_store TEXT NOT NULL,
  to_store TEXT NOT NULL,
  -- JSON: what workers have to do alike.
  options TEXT NOT NULL,
  -- JSON: the snapshot that the coordinator's session holds.
  snapshot TEXT NOT NULL DEFAULT '',
  -- What workers do with a part: hold what is there against the source, load, or nothing.
  stage TEXT NOT NULL,
  CONSTRAINT storage_plans_stage CHECK (stage IN ('planning', 'comparing', 'loading', 'ending'))
);
CREATE TABLE IF NOT EXISTS llmspell.storage_plan_parts (
  run INTEGER NOT NULL REFERENCES llmspell.storage_plans (run) ON DELETE CASCADE,
  part INTEGER NOT NULL,
  section TEXT NOT NULL,
  -- JSON: keys, in texts; empty: all of the section.
  bounds TEXT NOT NULL,
  -- The epoch whose snapshot the part was last held against, and what its reader met there.
  compared INTEGER NOT NULL DEFAULT 0,
  met BIGINT NOT NULL DEFAULT 0,
  met_sum INTEGER NOT NULL DEFAULT 0,
  -- Who has it at hand: a name, and the server's session.
  worker TEXT NOT NULL DEFAULT '',
  session TEXT NOT NULL DEFAULT '',
  taken_at TIMESTAMPTZ,
  attempts INTEGER NOT NULL DEFAULT 0,
  -- JSON: the error that it failed with last; `final`: no other attempt would help.
  failure TEXT NOT NULL DEFAULT '',
  final BOOLEAN NOT NULL DEFAULT false,
  PRIMARY KEY (run, part)
);
DO $$
DECLARE
  granted record;
BEGIN
  FOR granted IN
    SELECT c.oid::regclass AS name, coalesce(pg_get_userbyid(nullif(a.grantee, 0))::text, '') AS grantee
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE c.relnamespace = 'llmspell'::regnamespace AND c.relname IN ('storage_plans', 'storage_plan_parts')
      AND a.grantee <> c.relowner GROUP BY 1, 2
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s', granted.name,
      CASE granted.grantee WHEN '' THEN 'PUBLIC' ELSE quote_ident(granted.grantee) END);
  END LOOP;
END $$;
