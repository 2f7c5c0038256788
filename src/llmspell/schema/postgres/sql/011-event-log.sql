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

-- Months are those of the session's time zone, as in llmspell's own functions. SECURITY DEFINER: the application's role may
-- not create tables.
CREATE OR REPLACE FUNCTION llmspell.create_event_log_partition(partition_start TIMESTAMPTZ, partition_end TIMESTAMPTZ)
RETURNS TEXT LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' AS $$
DECLARE
  month_name TEXT := 'event_log_' || to_char(partition_start, 'YYYY_MM');
  partition_name TEXT := month_name;
  part RECORD;
  made TEXT[] := ARRAY[]::TEXT[];
BEGIN
  IF to_regclass(format('llmspell.%I', month_name)) IS NOT NULL THEN
    RETURN format('SKIPPED: Partition %s already exists', month_name);
  END IF;
  -- Months that were cut in another time zone leave only parts of this one.
  FOR part IN
    SELECT lag(taken_to, 1, partition_start) OVER (ORDER BY taken_from) AS from_time, taken_from AS to_time
    FROM (
      SELECT greatest(coalesce(taken_from, '-infinity'), partition_start) AS taken_from, coalesce(taken_to, 'infinity') AS taken_to
      FROM (
        SELECT (regexp_match(spec, $re$FROM \('([^']*)'\)$re$))[1]::timestamptz AS taken_from,
               (regexp_match(spec, $re$TO \('([^']*)'\)$re$))[1]::timestamptz AS taken_to
        FROM (
          SELECT pg_get_expr(c.relpartbound, c.oid) AS spec FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = 'llmspell.event_log'::regclass
        ) AS specs WHERE spec <> 'DEFAULT'
      ) AS bounds
      WHERE coalesce(taken_from, '-infinity') < partition_end AND coalesce(taken_to, 'infinity') > partition_start
      UNION ALL SELECT partition_end, partition_end
    ) AS taken
  LOOP
    CONTINUE WHEN part.from_time >= part.to_time;
    FOR number IN 2..1000 LOOP
      EXIT WHEN to_regclass(format('llmspell.%I', partition_name)) IS NULL;
      partition_name := month_name || '_' || number;
    END LOOP;
    EXECUTE format('CREATE TABLE llmspell.%I PARTITION OF llmspell.event_log FOR VALUES FROM (%L) TO (%L)',
      partition_name, part.from_time, part.to_time);
    -- Rows are read and written through the parent and its policies; without this the partition would bypass them.
    EXECUTE format('ALTER TABLE llmspell.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', partition_name);
    made := made || format('%s [%s to %s)', partition_name, part.from_time, part.to_time);
  END LOOP;
  IF cardinality(made) = 0 THEN
    RETURN format('SKIPPED: Partition %s would have nothing to hold', month_name);
  END IF;
  RETURN 'CREATED: Partition ' || array_to_string(made, ', ');
END $$;

-- The current month and the next three.
CREATE OR REPLACE FUNCTION llmspell.ensure_future_event_log_partitions()
RETURNS TEXT[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  this_month TIMESTAMPTZ := date_trunc('month', now());
  results TEXT[] := ARRAY[]::TEXT[];
BEGIN
  FOR i IN 0..3 LOOP
    results := results || llmspell.create_event_log_partition(
      date_trunc('month', this_month + make_interval(months => i)),
      date_trunc('month', this_month + make_interval(months => i + 1)));
  END LOOP;
  RETURN results;
END $$;

-- Drops the monthly partitions that end before the month of before_date; never called by this package.
CREATE OR REPLACE FUNCTION llmspell.cleanup_old_event_log_partitions(before_date TIMESTAMPTZ)
RETURNS TEXT[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' AS $$
DECLARE
  partition_name TEXT;
  results TEXT[] := ARRAY[]::TEXT[];
BEGIN
  FOR partition_name IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'llmspell.event_log'::regclass AND c.relname ~ '^event_log_\d{4}_\d{2}(_\d+)?$'
      AND (regexp_match(pg_get_expr(c.relpartbound, c.oid), $re$TO \('([^']*)'\)$re$))[1]::timestamptz
        <= date_trunc('month', before_date)
    ORDER BY c.relname
  LOOP
    EXECUTE format('DROP TABLE llmspell.%I', partition_name);
    results := results || ('DROPPED: ' || partition_name);
  END LOOP;
  IF cardinality(results) = 0 THEN
    results := ARRAY['No partitions to drop'];
  END IF;
  RETURN results;
END $$;

SELECT llmspell.ensure_future_event_log_partitions();
