-- Beside each time, which llmspell keeps as Unix seconds, its exact value: microseconds since 2000-01-01 UTC, the int64
-- extremes being the infinities. NULL means that the seconds are all there is. Columns that exist are left alone.
ALTER TABLE procedural_patterns ADD COLUMN first_seen_us INTEGER;
ALTER TABLE procedural_patterns ADD COLUMN last_seen_us INTEGER;
ALTER TABLE procedural_patterns ADD COLUMN created_at_us INTEGER;
ALTER TABLE procedural_patterns ADD COLUMN updated_at_us INTEGER;
ALTER TABLE agent_states ADD COLUMN created_at_us INTEGER;
ALTER TABLE agent_states ADD COLUMN updated_at_us INTEGER;
ALTER TABLE kv_store ADD COLUMN created_at_us INTEGER;
ALTER TABLE kv_store ADD COLUMN updated_at_us INTEGER;
ALTER TABLE workflow_states ADD COLUMN started_at_us INTEGER;
ALTER TABLE workflow_states ADD COLUMN completed_at_us INTEGER;
ALTER TABLE workflow_states ADD COLUMN last_updated_us INTEGER;
ALTER TABLE workflow_states ADD COLUMN created_at_us INTEGER;
ALTER TABLE sessions ADD COLUMN created_at_us INTEGER;
ALTER TABLE sessions ADD COLUMN last_accessed_at_us INTEGER;
ALTER TABLE sessions ADD COLUMN expires_at_us INTEGER;
ALTER TABLE sessions ADD COLUMN updated_at_us INTEGER;
ALTER TABLE artifact_content ADD COLUMN created_at_us INTEGER;
ALTER TABLE artifact_content ADD COLUMN last_accessed_at_us INTEGER;
ALTER TABLE artifacts ADD COLUMN created_at_us INTEGER;
ALTER TABLE artifacts ADD COLUMN stored_at_us INTEGER;
ALTER TABLE artifacts ADD COLUMN updated_at_us INTEGER;
ALTER TABLE hook_history ADD COLUMN timestamp_us INTEGER;
ALTER TABLE hook_history ADD COLUMN created_at_us INTEGER;
-- The checksum that was imported: llmspell's own column must be the SHA-256 of the text of state_data as it is stored here.
ALTER TABLE agent_states ADD COLUMN checksum_exported TEXT;
