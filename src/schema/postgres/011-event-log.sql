-- Event log, partitioned by month.
CREATE TABLE IF NOT EXISTS llmspell.event_log (
  tenant_id VARCHAR(255) NOT NULL,
  event_id UUID NOT NULL,
  event_type VARCHAR(255) NOT NULL,
  correlation_id UUID NOT NULL,
  timestamp TIMESTAMPTZ NOT NULL,
  sequence BIGINT NOT NULL,
  language VARCHAR(50) NOT NULL,
  payload JSONB NOT NULL,
  PRIMARY KEY (tenant_id, timestamp, event_id)
) PARTITION BY RANGE (timestamp);
CREATE INDEX IF NOT EXISTS idx_event_log_correlation ON llmspell.event_log (correlation_id, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_event_log_type ON llmspell.event_log (event_type, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_event_log_sequence ON llmspell.event_log (sequence DESC);
CREATE INDEX IF NOT EXISTS idx_event_log_tenant_time ON llmspell.event_log (tenant_id, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_event_log_payload ON llmspell.event_log USING gin (payload);

-- Whole UTC months, whatever the session's time zone is. SECURITY DEFINER: the application's role may not create tables.
CREATE OR REPLACE FUNCTION llmspell.create_event_log_partition(partition_start TIMESTAMPTZ, partition_end TIMESTAMPTZ)
RETURNS TEXT LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  partition_name TEXT := 'event_log_' || to_char(partition_start AT TIME ZONE 'UTC', 'YYYY_MM');
BEGIN
  IF to_regclass(format('llmspell.%I', partition_name)) IS NOT NULL THEN
    RETURN format('SKIPPED: Partition %s already exists', partition_name);
  END IF;
  EXECUTE format('CREATE TABLE llmspell.%I PARTITION OF llmspell.event_log FOR VALUES FROM (%L) TO (%L)',
    partition_name, partition_start, partition_end);
  -- Rows are read and written through the parent and its policies; without this the partition would bypass them.
  EXECUTE format('ALTER TABLE llmspell.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', partition_name);
  RETURN format('CREATED: Partition %s [%s to %s)', partition_name, partition_start, partition_end);
END $$;

-- The current month and the next three.
CREATE OR REPLACE FUNCTION llmspell.ensure_future_event_log_partitions()
RETURNS TEXT[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  this_month TIMESTAMP := date_trunc('month', now() AT TIME ZONE 'UTC');
  results TEXT[] := ARRAY[]::TEXT[];
BEGIN
  FOR i IN 0..3 LOOP
    results := results || llmspell.create_event_log_partition(
      (this_month + make_interval(months => i)) AT TIME ZONE 'UTC',
      (this_month + make_interval(months => i + 1)) AT TIME ZONE 'UTC');
  END LOOP;
  RETURN results;
END $$;

-- Drops the monthly partitions that lie before the month of before_date; never called by this package.
CREATE OR REPLACE FUNCTION llmspell.cleanup_old_event_log_partitions(before_date TIMESTAMPTZ)
RETURNS TEXT[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  month_limit TEXT := to_char(before_date AT TIME ZONE 'UTC', 'YYYY_MM');
  partition_name TEXT;
  results TEXT[] := ARRAY[]::TEXT[];
BEGIN
  FOR partition_name IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'llmspell.event_log'::regclass AND c.relname ~ '^event_log_\d{4}_\d{2}$'
    ORDER BY c.relname
  LOOP
    IF right(partition_name, 7) < month_limit THEN
      EXECUTE format('DROP TABLE llmspell.%I', partition_name);
      results := results || ('DROPPED: ' || partition_name);
    END IF;
  END LOOP;
  IF cardinality(results) = 0 THEN
    results := ARRAY['No partitions to drop'];
  END IF;
  RETURN results;
END $$;

SELECT llmspell.ensure_future_event_log_partitions();
