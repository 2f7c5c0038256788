-- What workers tell of a part besides how many records it has, so that their coordinator adds it up without meeting the records:
-- bytes of values, the digest of what its records mean (`--digests`), and what its steps met. The owner's alone, as the rest of the ledger.
CREATE TABLE IF NOT EXISTS llmspell.storage_plan_sums (
  run INTEGER NOT NULL REFERENCES llmspell.storage_plans (run) ON DELETE CASCADE,
  part INTEGER NOT NULL,
  value_bytes BIGINT NOT NULL,
  meaning TEXT NOT NULL,
  -- JSON.
  effects TEXT NOT NULL,
  PRIMARY KEY (run, part)
);
DO $$
DECLARE
  granted record;
BEGIN
  FOR granted IN
    SELECT c.oid::regclass AS name, coalesce(pg_get_userbyid(nullif(a.grantee, 0))::text, '') AS grantee
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE c.relnamespace = 'llmspell'::regnamespace AND c.relname = 'storage_plan_sums' AND a.grantee <> c.relowner GROUP BY 1, 2
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s', granted.name,
      CASE granted.grantee WHEN '' THEN 'PUBLIC' ELSE quote_ident(granted.grantee) END);
  END LOOP;
END $$;
