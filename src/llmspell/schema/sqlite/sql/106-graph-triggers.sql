-- What llmspell relies on and the keys of 102 to 104 no longer see to: an entity that is there is not added again, its
-- relationships go with its last version, a relationship has both of its entities, an event is logged once. That is for rows
-- as llmspell writes them, without exact times, and a load sets the triggers aside: several versions, and relationships that
-- outlive their entities, are what PostgreSQL has. The plus signs keep SQLite from going by the index of the end times, where
-- it has no statistics: all current versions have the same one.
CREATE TRIGGER IF NOT EXISTS storage_entities_current BEFORE INSERT ON entities
WHEN NEW.transaction_time_start_us IS NULL
  AND EXISTS (SELECT 1 FROM entities WHERE entity_id = NEW.entity_id AND +transaction_time_end = 9999999999)
BEGIN
  SELECT RAISE(ABORT, 'UNIQUE constraint failed: entities.entity_id');
END;
CREATE TRIGGER IF NOT EXISTS storage_entities_last AFTER DELETE ON entities
WHEN NOT EXISTS (SELECT 1 FROM entities WHERE entity_id = OLD.entity_id)
BEGIN
  DELETE FROM relationships WHERE from_entity = OLD.entity_id OR to_entity = OLD.entity_id;
END;
CREATE TRIGGER IF NOT EXISTS storage_relationships_current BEFORE INSERT ON relationships
WHEN NEW.transaction_time_start_us IS NULL AND EXISTS (
  SELECT 1 FROM relationships WHERE relationship_id = NEW.relationship_id AND +transaction_time_end = 9999999999
)
BEGIN
  SELECT RAISE(ABORT, 'UNIQUE constraint failed: relationships.relationship_id');
END;
CREATE TRIGGER IF NOT EXISTS storage_relationships_entities BEFORE INSERT ON relationships
WHEN NEW.transaction_time_start_us IS NULL AND (
  NOT EXISTS (SELECT 1 FROM entities WHERE entity_id = NEW.from_entity)
  OR NOT EXISTS (SELECT 1 FROM entities WHERE entity_id = NEW.to_entity)
)
BEGIN
  SELECT RAISE(ABORT, 'FOREIGN KEY constraint failed');
END;
CREATE TRIGGER IF NOT EXISTS storage_relationships_moved BEFORE UPDATE OF from_entity, to_entity ON relationships
WHEN NOT EXISTS (SELECT 1 FROM entities WHERE entity_id = NEW.from_entity)
  OR NOT EXISTS (SELECT 1 FROM entities WHERE entity_id = NEW.to_entity)
BEGIN
  SELECT RAISE(ABORT, 'FOREIGN KEY constraint failed');
END;
CREATE TRIGGER IF NOT EXISTS storage_event_log_once BEFORE INSERT ON event_log
-- Twice, so that each half has an index that names the event.
WHEN NEW.timestamp_us IS NULL AND (
  EXISTS (
    SELECT 1 FROM event_log WHERE tenant_id = NEW.tenant_id AND timestamp = NEW.timestamp AND event_id = NEW.event_id
      AND timestamp_us IS NULL
  )
  OR EXISTS (
    SELECT 1 FROM event_log WHERE tenant_id = NEW.tenant_id AND timestamp = NEW.timestamp
      AND timestamp_us >= -9223372036854775808 AND event_id = NEW.event_id
  )
)
BEGIN
  SELECT RAISE(ABORT, 'UNIQUE constraint failed: event_log.tenant_id, event_log.event_id');
END;
