-- llmspell unlinks a content's large object and passes over an error: where the object is not its own (an owner of the
-- tables who is no member of llmspell_app imported it), it would stay for ever. So it goes with its row. As the owner of the
-- table, hence only what the application could make empty in any case: an object that llmspell_app may UPDATE.
CREATE OR REPLACE FUNCTION llmspell.unlink_content_large_object() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (
    SELECT FROM pg_largeobject_metadata l CROSS JOIN LATERAL aclexplode(l.lomacl) a
    WHERE l.oid = OLD.large_object_oid AND a.grantee = to_regrole('llmspell_app')::oid AND a.privilege_type = 'UPDATE'
      AND l.lomowner <> a.grantee AND pg_has_role(l.lomowner, 'USAGE')
  ) AND NOT EXISTS (SELECT FROM llmspell.artifact_content c WHERE c.large_object_oid = OLD.large_object_oid) THEN
    PERFORM lo_unlink(OLD.large_object_oid);
  END IF;
  RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS trigger_unlink_large_object ON llmspell.artifact_content;
CREATE TRIGGER trigger_unlink_large_object AFTER DELETE ON llmspell.artifact_content
  FOR EACH ROW WHEN (OLD.large_object_oid IS NOT NULL) EXECUTE FUNCTION llmspell.unlink_content_large_object();
