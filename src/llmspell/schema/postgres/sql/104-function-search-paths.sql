-- The functions that llmspell, or an earlier release, made without a search path of their own: an operator that somebody
-- makes in another schema (`=` of two varchars, say) would be run by whoever changes a row, or by the functions' owner.
DO $$
DECLARE
  each record;
BEGIN
  FOR each IN
    SELECT oid::regprocedure AS name FROM pg_proc
    WHERE pronamespace = 'llmspell'::regnamespace AND pg_has_role(proowner, 'USAGE')
      AND NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting LIKE 'search_path=%')
      AND proname IN (
        'cleanup_expired_api_keys',
        'cleanup_old_event_log_partitions',
        'cleanup_old_hook_executions',
        'create_event_log_partition',
        'decrement_content_refcount',
        'ensure_future_event_log_partitions',
        'get_api_key_stats',
        'get_hook_history_stats',
        'increment_agent_state_version',
        'increment_content_refcount',
        'rotate_api_key',
        'update_agent_states_updated_at',
        'update_artifacts_updated_at',
        'update_content_accessed_at',
        'update_kv_store_updated_at',
        'update_procedural_patterns_updated_at',
        'update_sessions_accessed_at',
        'update_sessions_updated_at',
        'update_workflow_completed_at',
        'update_workflow_states_updated_at'
      )
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', each.name);
  END LOOP;
END $$;
