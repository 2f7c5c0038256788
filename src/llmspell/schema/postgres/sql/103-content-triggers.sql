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

-- llmspell's PostgreSQL counts one more than there are artifacts, its SQLite exactly those, and counts arrive as they were.
-- Deleting one of two artifacts would then unlink the content of the other, and deleting the last would be refused: from the
-- first change on a count is at least what llmspell's statements here need. A load does not fire it.
CREATE OR REPLACE FUNCTION llmspell.keep_content_refcount() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.reference_count := greatest(NEW.reference_count, 1 + (
    SELECT count(*) FROM llmspell.artifacts a WHERE a.tenant_id = NEW.tenant_id AND a.content_hash = NEW.content_hash));
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS trigger_keep_refcount ON llmspell.artifact_content;
CREATE TRIGGER trigger_keep_refcount BEFORE UPDATE OF reference_count ON llmspell.artifact_content
  FOR EACH ROW EXECUTE FUNCTION llmspell.keep_content_refcount();
