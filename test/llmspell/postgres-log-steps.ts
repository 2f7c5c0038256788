/** What llmspell 0.14's storage for events, hook executions and API keys does, in our own words. */
import { type LlmspellSession, type Step, TENANT, uuid } from "./postgres-session.js";

/** Before every event llmspell asks for the partitions that it may need. */
async function storeEvent(s: LlmspellSession, n: number, time: string): Promise<number> {
  await s.rows("SELECT llmspell.ensure_future_event_log_partitions()");
  return s.changed(
    `INSERT INTO llmspell.event_log (tenant_id, event_id, event_type, correlation_id, timestamp, sequence, language, payload)
     VALUES ($1, $2, 'agent.new', $3, $4::timestamptz, $5, 'lua', $6)`,
    [TENANT, uuid(n), uuid(9), time, n, { id: uuid(n) }],
  );
}

export const events: Step[] = [
  ["event now", async (s) => storeEvent(s, 9040, String((await s.rows("SELECT now()::text"))[0]?.[0]))],
  [
    "events at the ends of this month and the next three",
    async (s) => {
      const ends = await s.rows(
        `SELECT unnest(ARRAY[start, start + interval '1 month' - interval '1 microsecond'])::text
         FROM (SELECT date_trunc('month', now()) + make_interval(months => n) AS start FROM generate_series(0, 3) n) AS months`,
      );
      let stored = 0;
      for (const [time] of ends) stored += await storeEvent(s, 9041 + stored, time as string);
      return stored;
    },
  ],
  [
    "events by pattern",
    (s) =>
      s.rows("SELECT count(*) FROM llmspell.event_log WHERE tenant_id = $1 AND event_type LIKE $2", [
        TENANT,
        "agent.%",
      ]),
  ],
  [
    "events by correlation and by time",
    (s) =>
      s.rows(
        `SELECT sequence FROM llmspell.event_log WHERE tenant_id = $1 AND correlation_id = $2 AND timestamp >= $3 AND timestamp <= $4
         ORDER BY sequence`,
        [TENANT, uuid(8), new Date("2020-01-01T00:00:00Z"), new Date("2020-12-31T00:00:00Z")],
      ),
  ],
  [
    "event cleanup",
    async (s) => {
      const rows = await s.rows("SELECT unnest(llmspell.cleanup_old_event_log_partitions($1))", [
        new Date("2020-03-15T00:00:00Z"),
      ]);
      return rows.filter(([line]) => String(line).startsWith("DROPPED"));
    },
  ],
  [
    "events that are left of 2020",
    (s) =>
      s.rows("SELECT sequence FROM llmspell.event_log WHERE tenant_id = $1 AND correlation_id = $2 ORDER BY 1", [
        TENANT,
        uuid(8),
      ]),
  ],
];

export const hooks: Step[] = [
  [
    "hook store",
    (s) =>
      s.changed(
        `INSERT INTO llmspell.hook_history (execution_id, tenant_id, hook_id, hook_type, correlation_id, hook_context, result_data,
           timestamp, duration_ms, triggering_component, component_id, modified_operation, tags, retention_priority, context_size,
           contains_sensitive_data, metadata)
         VALUES ($1, $2, 'h-new', 'pre', $3, $4, '{}', now(), 10, 'c', 'i', false, $5, 5, 4, false, '{}')`,
        [uuid(9060), TENANT, uuid(9), Buffer.from("ctx!"), ["a", "b"]],
      ),
  ],
  [
    "hook load",
    (s) =>
      s.rows(
        `SELECT hook_id, tags, retention_priority, convert_from(hook_context, 'UTF8') FROM llmspell.hook_history
         WHERE tenant_id = $1 AND execution_id = ANY ($2) ORDER BY hook_id`,
        [TENANT, [uuid(60), uuid(9060)]],
      ),
  ],
  [
    "hook statistics",
    (s) =>
      s.rows(
        `SELECT total_executions, total_size_bytes > 0, executions_by_hook, executions_by_type, oldest_execution IS NOT NULL,
           avg_duration_ms::double precision FROM llmspell.get_hook_history_stats()`,
      ),
  ],
  [
    "hook archive keeps what is new and what has a higher priority",
    (s) => s.rows("SELECT llmspell.cleanup_old_hook_executions($1, $2)", [new Date("2025-01-01T00:00:00Z"), 3]),
  ],
  [
    "hooks that are left",
    (s) => s.rows("SELECT execution_id FROM llmspell.hook_history WHERE tenant_id = $1 ORDER BY 1", [TENANT]),
  ],
];

const storeKey = (s: LlmspellSession, key: string, expires: Date | null, service = "openai"): Promise<number> =>
  s.changed(
    `INSERT INTO llmspell.api_keys (key_id, tenant_id, service, encrypted_key, key_metadata, created_at, last_used_at, expires_at,
       is_active, usage_count) VALUES ($1, $2, $3, pgp_sym_encrypt($4::TEXT, $5::TEXT), $6::JSONB, now(), NULL, $7, true, 3)`,
    [key, TENANT, service, `secret of ${key}`, "passphrase", '"openai"', expires],
  );

const rotate = async (s: LlmspellSession, old: string): Promise<string> => {
  const [row] = await s.rows("SELECT llmspell.rotate_api_key($1)", [old]);
  const key = row?.[0] as string;
  await storeKey(s, key, null);
  await s.changed("UPDATE llmspell.api_keys SET rotated_from = $1 WHERE key_id = $2", [old, key]);
  return key;
};

export const keys: Step[] = [
  ["key store", (s) => storeKey(s, "key-1", null)],
  [
    "key get",
    (s) =>
      s.rows(
        "SELECT pgp_sym_decrypt(encrypted_key, $2::TEXT) FROM llmspell.api_keys WHERE key_id = $1 AND tenant_id = $3",
        ["key-1", "passphrase", TENANT],
      ),
  ],
  [
    "key rotation",
    async (s) => {
      const key = await rotate(s, "key-1");
      const rows = await s.rows(
        "SELECT is_active, deactivated_at IS NOT NULL, rotated_from FROM llmspell.api_keys ORDER BY created_at",
      );
      return [/^key-1_rotated_\d+$/.test(key), rows];
    },
  ],
  ["key rotation of what is not there", async (s) => rotate(s, "no such key")],
  // (tenant, service, is_active) is unique: a service has one key that is switched off, and no more.
  [
    "key rotation for a second time",
    async (s) => rotate(s, String((await s.rows("SELECT key_id FROM llmspell.api_keys WHERE is_active"))[0]?.[0])),
  ],
  [
    "key statistics",
    (s) =>
      s.rows(
        `SELECT total_keys, active_keys, expired_keys, keys_by_service, total_usage, avg_usage_per_key::double precision
         FROM llmspell.get_api_key_stats()`,
      ),
  ],
  [
    "key cleanup",
    async (s) => {
      await storeKey(s, "old", new Date("2020-01-01T00:00:00Z"), "anthropic");
      return s.rows("SELECT deleted_key_id, service, expired_at < now() FROM llmspell.cleanup_expired_api_keys()");
    },
  ],
  [
    "key delete",
    (s) => s.changed("DELETE FROM llmspell.api_keys WHERE key_id = $1 AND tenant_id = $2", ["key-1", TENANT]),
  ],
];
