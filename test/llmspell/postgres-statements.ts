/**
 * What llmspell 0.14's storage classes for PostgreSQL do, statement by statement, in our own words. Each step gives what an
 * application sees, in a form that is the same in every database; an error gives its SQLSTATE.
 */
import { createHash } from "node:crypto";
import pg from "pg";

export const TENANT = "tenant-a";
export const MIB = 1048576;
export const DIMENSIONS = [384, 768, 1536, 3072] as const;

export const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
/** The vector with 1 at `place`, as pgvector's text. */
export const axis = (dimension: number, place: number): string =>
  `[${Array.from({ length: dimension }, (_, at) => (at === place ? 1 : 0)).join(",")}]`;
export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

type Values = readonly unknown[];

/** One of llmspell's pooled sessions: its role, and the tenant that it sets on every session before it uses it. */
export class LlmspellSession {
  private constructor(private readonly client: pg.Client) {}

  /** @param url a superuser's, who becomes llmspell_app: the role may have a password that nobody here knows */
  static async open(url: string, tenant: string = TENANT): Promise<LlmspellSession> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query("SET SESSION AUTHORIZATION llmspell_app");
    const session = new LlmspellSession(client);
    await session.use(tenant);
    return session;
  }

  async use(tenant: string): Promise<void> {
    await this.client.query("SELECT set_config('app.current_tenant_id', $1, false)", [tenant]);
  }

  async rows(text: string, values: Values = []): Promise<unknown[][]> {
    const { rows } = await this.client.query<unknown[]>({ text, values: [...values], rowMode: "array" });
    return rows;
  }

  async changed(text: string, values: Values = []): Promise<number> {
    return (await this.client.query(text, [...values])).rowCount ?? 0;
  }

  async transaction<Result>(work: () => Promise<Result>): Promise<Result> {
    await this.client.query("BEGIN");
    try {
      const result = await work();
      await this.client.query("COMMIT");
      return result;
    } catch (error) {
      await this.client.query("ROLLBACK");
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.client.end();
  }
}

export type Step = readonly [name: string, run: (session: LlmspellSession) => Promise<unknown>];

/** The steps' outcomes by name, in order. */
export async function perform(session: LlmspellSession, steps: readonly Step[]): Promise<Record<string, unknown>> {
  const outcomes: Record<string, unknown> = {};
  for (const [name, run] of steps) {
    outcomes[name] = await run(session).catch((error: Error & { code?: string }) => {
      if (error.code === undefined) throw error;
      return `error ${error.code}`;
    });
  }
  return outcomes;
}

/** Vectors of one dimension: insert, search with and without a scope, metadata, the deletion of a scope. */
function vectors(dimension: number): Step[] {
  const table = `llmspell.vector_embeddings_${dimension}`;
  const insert = (s: LlmspellSession, n: number, scope: string): Promise<unknown[][]> =>
    s.rows(
      `INSERT INTO ${table} (id, tenant_id, scope, embedding, metadata, created_at, updated_at)
       VALUES ($1, current_setting('app.current_tenant_id', true), $2, $3, $4, now(), now()) RETURNING id`,
      [uuid(n), scope, axis(dimension, n % dimension), { n }],
    );
  return [
    [`vector ${dimension} insert`, async (s) => [await insert(s, 9001, "custom:new"), await insert(s, 9002, "global")]],
    [
      `vector ${dimension} search`,
      (s) =>
        s.rows(`SELECT id, embedding <=> $1::vector AS distance FROM ${table} ORDER BY distance LIMIT $2`, [
          axis(dimension, 9002 % dimension),
          1,
        ]),
    ],
    [
      `vector ${dimension} search scoped`,
      (s) =>
        s.rows(
          `SELECT id, scope, metadata, embedding <=> $1::vector AS distance FROM ${table} WHERE scope = $2
           ORDER BY distance LIMIT $3`,
          [axis(dimension, 9001 % dimension), "custom:new", 3],
        ),
    ],
    [
      `vector ${dimension} finds what was imported`,
      (s) =>
        s.rows(`SELECT id FROM ${table} WHERE scope = $2 ORDER BY embedding <=> $1::vector LIMIT 1`, [
          axis(dimension, 7),
          "imported",
        ]),
    ],
    [
      `vector ${dimension} update metadata`,
      (s) =>
        s.changed(`UPDATE ${table} SET metadata = $1, updated_at = now() WHERE id = $2`, [{ changed: true }, uuid(7)]),
    ],
    [`vector ${dimension} delete scope`, (s) => s.changed(`DELETE FROM ${table} WHERE scope = $1`, ["custom:new"])],
    // Its ids are text there, and it passes over the error: nothing is ever deleted.
    [
      `vector ${dimension} delete by ids of type text`,
      (s) => s.changed(`DELETE FROM ${table} WHERE id = ANY ($1::text[])`, [[uuid(9002)]]),
    ],
    [
      `vector ${dimension} count`,
      (s) => s.rows(`SELECT count(*) FROM ${table} WHERE tenant_id = current_setting('app.current_tenant_id', true)`),
    ],
  ];
}

const CURRENT = "valid_time_end = 'infinity' AND transaction_time_end = 'infinity'";

/** An entity's new version: the current one is ended, and another begins, in one transaction. */
function updateEntity(n: number): Step[1] {
  return (s) =>
    s.transaction(async () => {
      const [row] = await s.rows(
        `SELECT entity_type, name, properties, valid_time_start FROM llmspell.entities
         WHERE entity_id = $1 AND tenant_id = $2 AND ${CURRENT}`,
        [uuid(n), TENANT],
      );
      if (row === undefined) return "no such entity";
      const ended = await s.changed(
        `UPDATE llmspell.entities SET valid_time_end = $1, transaction_time_end = $1
         WHERE entity_id = $2 AND tenant_id = $3 AND ${CURRENT}`,
        [new Date(), uuid(n), TENANT],
      );
      const begun = await s.changed(
        `INSERT INTO llmspell.entities (tenant_id, entity_id, entity_type, name, properties, valid_time_start, valid_time_end)
         VALUES ($1, $2, $3, $4, $5, $6, 'infinity')`,
        [TENANT, uuid(n), row[0], row[1], { ...(row[2] as object), version: 2 }, row[3]],
      );
      return [ended, begun];
    });
}

const graph: Step[] = [
  [
    "entity add",
    (s) =>
      s.changed(
        `INSERT INTO llmspell.entities (tenant_id, entity_id, entity_type, name, properties, valid_time_start, valid_time_end,
           transaction_time_start) VALUES ($1, $2, 'person', 'Ada', $3, $4, 'infinity', $4)`,
        [TENANT, uuid(9010), { born: 1815 }, new Date(Date.now() - 1000)],
      ),
  ],
  ["entity update", updateEntity(9010)],
  ["entity update of what was imported", updateEntity(10)],
  [
    "entity get",
    (s) =>
      s.rows(
        `SELECT name, properties FROM llmspell.entities WHERE entity_id = ANY ($1) AND tenant_id = $2 AND ${CURRENT} ORDER BY entity_id`,
        [[uuid(10), uuid(9010)], TENANT],
      ),
  ],
  [
    "entity at a time",
    (s) =>
      s.rows(
        `SELECT name, properties FROM llmspell.entities WHERE entity_id = $1 AND tenant_id = $2
           AND valid_time_start <= $3 AND valid_time_end > $3 AND transaction_time_start <= $4 AND transaction_time_end > $4`,
        [uuid(11), TENANT, new Date("2024-06-01T00:00:00Z"), new Date("2024-06-01T00:00:00Z")],
      ),
  ],
  [
    "entities by property",
    (s) =>
      s.rows(
        `SELECT entity_id FROM llmspell.entities WHERE tenant_id = $1 AND entity_type = $2 AND valid_time_end > $3
           AND properties @> $4 LIMIT $5`,
        [TENANT, "person", new Date(), { born: 1815 }, 10],
      ),
  ],
  [
    "relationship add",
    (s) =>
      s.changed(
        `INSERT INTO llmspell.relationships (tenant_id, relationship_id, from_entity, to_entity, relationship_type, properties,
           valid_time_start, valid_time_end, transaction_time_start) VALUES ($1, $2, $3, $4, 'knows', '{}', $5, 'infinity', $5)`,
        [TENANT, uuid(9020), uuid(9010), uuid(10), new Date()],
      ),
  ],
  [
    "relationships of an entity",
    (s) =>
      s.rows(
        `SELECT relationship_id FROM llmspell.relationships WHERE (from_entity = $1 OR to_entity = $1) AND tenant_id = $2
           AND valid_time_start <= $3 AND valid_time_end > $3 AND transaction_time_end = 'infinity'::timestamptz ORDER BY 1`,
        [uuid(10), TENANT, new Date(Date.now() + 1000)],
      ),
  ],
  [
    "graph traversal",
    (s) =>
      s.rows(
        `WITH RECURSIVE walk AS (
           SELECT e.entity_id, 0 AS depth, ARRAY[e.entity_id] AS path FROM llmspell.entities e
           WHERE e.entity_id = $1 AND e.tenant_id = $2
             AND tstzrange(e.valid_time_start, e.valid_time_end) @> $3::timestamptz
             AND tstzrange(e.transaction_time_start, e.transaction_time_end) @> now()
           UNION ALL
           SELECT e.entity_id, w.depth + 1, w.path || e.entity_id
           FROM walk w JOIN llmspell.relationships r ON w.entity_id = r.from_entity
             JOIN llmspell.entities e ON r.to_entity = e.entity_id
           WHERE w.depth < $4 AND r.tenant_id = $2 AND tstzrange(r.valid_time_start, r.valid_time_end) @> $3::timestamptz
             AND tstzrange(r.transaction_time_start, r.transaction_time_end) @> now()
             AND tstzrange(e.valid_time_start, e.valid_time_end) @> $3::timestamptz
             AND tstzrange(e.transaction_time_start, e.transaction_time_end) @> now() AND NOT e.entity_id = ANY (w.path)
         ) SELECT entity_id, depth FROM walk WHERE depth > 0 ORDER BY depth, entity_id`,
        [uuid(9010), TENANT, new Date(Date.now() + 1000), 4],
      ),
  ],
  [
    "graph deletion of ended versions",
    (s) =>
      s.transaction(async () => {
        const counts: number[] = [];
        for (const table of ["relationships", "entities"])
          counts.push(
            await s.changed(
              `DELETE FROM llmspell.${table} WHERE tenant_id = $1 AND transaction_time_start < $2 AND transaction_time_end != 'infinity'`,
              [TENANT, new Date(Date.now() + 1000)],
            ),
          );
        return counts;
      }),
  ],
  [
    "what is left of the graph",
    (s) => s.rows("SELECT entity_id FROM llmspell.entities WHERE tenant_id = $1 ORDER BY 1", [TENANT]),
  ],
];

const recordTransition = (s: LlmspellSession, key: string): Promise<unknown[][]> =>
  s.rows(
    `INSERT INTO llmspell.procedural_patterns (tenant_id, scope, key, value, frequency, first_seen, last_seen)
     VALUES ($1, 's', $2, 'v', 1, $3, $3)
     ON CONFLICT (tenant_id, scope, key, value)
     DO UPDATE SET frequency = procedural_patterns.frequency + 1, last_seen = $3 RETURNING frequency`,
    [TENANT, key, new Date()],
  );

const setAgent = (s: LlmspellSession, agent: string): Promise<number> =>
  s.changed(
    `INSERT INTO llmspell.agent_states (tenant_id, agent_id, agent_type, state_data, checksum) VALUES ($1, $2, 'chat', $3, $4)
     ON CONFLICT (tenant_id, agent_id) DO UPDATE SET state_data = EXCLUDED.state_data, checksum = EXCLUDED.checksum, updated_at = now()`,
    [TENANT, agent, { changed: true }, sha256(Buffer.from("{}"))],
  );

const setWorkflow = (s: LlmspellSession, workflow: string, status: string): Promise<number> =>
  s.changed(
    `INSERT INTO llmspell.workflow_states (tenant_id, workflow_id, workflow_name, state_data, current_step, status)
     VALUES ($1, $2, NULL, $3, 1, $4)
     ON CONFLICT (tenant_id, workflow_id) DO UPDATE SET workflow_name = EXCLUDED.workflow_name, state_data = EXCLUDED.state_data,
       current_step = EXCLUDED.current_step, status = EXCLUDED.status`,
    [TENANT, workflow, { status }, status],
  );

const setSession = (s: LlmspellSession, n: number, created: Date | null): Promise<number> =>
  s.changed(
    `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data, status, created_at, last_accessed_at, expires_at, artifact_count)
     VALUES ($1, $2, $3, 'active', COALESCE($4, now()), COALESCE($5, now()), $6, $7)
     ON CONFLICT (tenant_id, session_id) DO UPDATE SET session_data = EXCLUDED.session_data, status = EXCLUDED.status,
       last_accessed_at = COALESCE(EXCLUDED.last_accessed_at, now()), expires_at = EXCLUDED.expires_at,
       artifact_count = EXCLUDED.artifact_count`,
    [TENANT, uuid(n), { changed: true }, created, created, null, 0],
  );

const setKv = (s: LlmspellSession, key: string): Promise<number> =>
  s.changed(
    `INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ($1, $2, $3)
     ON CONFLICT (tenant_id, key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()`,
    [TENANT, key, Buffer.from("changed")],
  );

const states: Step[] = [
  ["pattern new", (s) => recordTransition(s, "new")],
  ["pattern again", (s) => recordTransition(s, "new")],
  ["pattern that was imported", (s) => recordTransition(s, "imported")],
  [
    "patterns learned",
    (s) =>
      s.rows(
        "SELECT key, frequency FROM llmspell.procedural_patterns WHERE tenant_id = $1 AND frequency >= $2 ORDER BY frequency DESC",
        [TENANT, 2],
      ),
  ],
  ["agent set", async (s) => [await setAgent(s, "new"), await setAgent(s, "imported")]],
  [
    "agent get",
    (s) =>
      s.rows(
        "SELECT agent_id, state_data, data_version FROM llmspell.agent_states WHERE tenant_id = $1 AND agent_id LIKE $2 ORDER BY 1",
        [TENANT, "%"],
      ),
  ],
  [
    "agent delete",
    (s) => s.changed("DELETE FROM llmspell.agent_states WHERE tenant_id = $1 AND agent_id = $2", [TENANT, "imported"]),
  ],
  [
    "workflow set",
    async (s) => [
      await setWorkflow(s, "new", "running"),
      await setWorkflow(s, "new", "completed"),
      await setWorkflow(s, "imported", "completed"),
    ],
  ],
  [
    "workflow get",
    (s) =>
      s.rows(
        `SELECT workflow_id, state_data, current_step, status, completed_at IS NOT NULL FROM llmspell.workflow_states
         WHERE tenant_id = $1 AND workflow_id LIKE $2 ORDER BY 1`,
        [TENANT, "%"],
      ),
  ],
  [
    "workflow delete",
    (s) =>
      s.changed("DELETE FROM llmspell.workflow_states WHERE tenant_id = $1 AND workflow_id = $2", [TENANT, "imported"]),
  ],
  [
    "session set",
    async (s) => [await setSession(s, 9030, null), await setSession(s, 30, new Date("2025-01-01T00:00:00Z"))],
  ],
  [
    "session get",
    (s) =>
      s.rows("SELECT session_data, status FROM llmspell.sessions WHERE tenant_id = $1 AND session_id = $2", [
        TENANT,
        uuid(30),
      ]),
  ],
  [
    "session list",
    (s) =>
      s.rows("SELECT session_id FROM llmspell.sessions WHERE tenant_id = $1 ORDER BY created_at DESC, session_id", [
        TENANT,
      ]),
  ],
  ["kv set", async (s) => [await setKv(s, "k:new"), await setKv(s, "k:imported")]],
  [
    "kv get",
    (s) =>
      s.rows(
        "SELECT key, convert_from(value, 'UTF8') FROM llmspell.kv_store WHERE tenant_id = $1 AND key LIKE $2 ORDER BY key",
        [TENANT, "k:%"],
      ),
  ],
  [
    "kv exists",
    (s) =>
      s.rows("SELECT EXISTS (SELECT 1 FROM llmspell.kv_store WHERE tenant_id = $1 AND key = $2)", [TENANT, "k:new"]),
  ],
  [
    "kv delete",
    (s) => s.changed("DELETE FROM llmspell.kv_store WHERE tenant_id = $1 AND key = $2", [TENANT, "k:imported"]),
  ],
];

/** Before every event llmspell asks for the partitions that it may need. */
export async function storeEvent(s: LlmspellSession, n: number, time: string): Promise<number> {
  await s.rows("SELECT llmspell.ensure_future_event_log_partitions()");
  return s.changed(
    `INSERT INTO llmspell.event_log (tenant_id, event_id, event_type, correlation_id, timestamp, sequence, language, payload)
     VALUES ($1, $2, 'agent.new', $3, $4::timestamptz, $5, 'lua', $6)`,
    [TENANT, uuid(n), uuid(9), time, n, { id: uuid(n) }],
  );
}

const events: Step[] = [
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

const hooks: Step[] = [
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

const keys: Step[] = [
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

const INV_WRITE = 0x20000;
const INV_READ = 0x40000;

/** Content from 1 MiB on goes into a large object, in a transaction of its own. */
async function storeContent(s: LlmspellSession, hash: string, content: Buffer): Promise<number> {
  if (content.length < MIB)
    return s.changed(
      `INSERT INTO llmspell.artifact_content (tenant_id, content_hash, storage_type, data, size_bytes, is_compressed)
       VALUES ($1, $2, 'bytea', $3, $4, false) ON CONFLICT (tenant_id, content_hash) DO NOTHING`,
      [TENANT, hash, content, content.length],
    );
  const oid = await s.transaction(async () => {
    const created = (await s.rows("SELECT lo_create(0)"))[0]?.[0];
    const descriptor = (await s.rows("SELECT lo_open($1, $2)", [created, INV_WRITE]))[0]?.[0];
    for (let at = 0; at < content.length; at += MIB)
      await s.rows("SELECT lowrite($1, $2)", [descriptor, content.subarray(at, at + MIB)]);
    await s.rows("SELECT lo_close($1)", [descriptor]);
    return created;
  });
  return s.changed(
    `INSERT INTO llmspell.artifact_content (tenant_id, content_hash, storage_type, large_object_oid, size_bytes, is_compressed)
     VALUES ($1, $2, 'large_object', $3, $4, false) ON CONFLICT (tenant_id, content_hash) DO NOTHING`,
    [TENANT, hash, oid, content.length],
  );
}

async function readContent(s: LlmspellSession, hash: string): Promise<string> {
  const [row] = await s.rows(
    "SELECT storage_type, data, large_object_oid FROM llmspell.artifact_content WHERE tenant_id = $1 AND content_hash = $2",
    [TENANT, hash],
  );
  if (row === undefined) return "no such content";
  if (row[0] === "bytea") return sha256(row[1] as Buffer);
  return s.transaction(async () => {
    const descriptor = (await s.rows("SELECT lo_open($1, $2)", [row[2], INV_READ]))[0]?.[0];
    const digest = createHash("sha256");
    for (;;) {
      const chunk = (await s.rows("SELECT loread($1, $2)", [descriptor, MIB]))[0]?.[0] as Buffer;
      if (chunk.length === 0) break;
      digest.update(chunk);
    }
    await s.rows("SELECT lo_close($1)", [descriptor]);
    return digest.digest("hex");
  });
}

const storeArtifact = (s: LlmspellSession, id: string, sequence: number, hash: string): Promise<number> =>
  s.changed(
    `INSERT INTO llmspell.artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type,
       mime_type, size_bytes, created_at, created_by, tags) VALUES ($1, $2, $3, $4, $5, '{}', 'n', 'text', 'text/plain', 1, now(), NULL, $6)`,
    [TENANT, id, uuid(30), sequence, hash, ["x"]],
  );

/** What is gone with the last artifact of a content: the content, and its large object, whose errors are passed over. */
export async function deleteArtifact(s: LlmspellSession, id: string): Promise<string> {
  const [row] = await s.rows(
    `SELECT a.content_hash, c.storage_type, c.large_object_oid FROM llmspell.artifacts a
     JOIN llmspell.artifact_content c ON a.tenant_id = c.tenant_id AND a.content_hash = c.content_hash
     WHERE a.tenant_id = $1 AND a.artifact_id = $2`,
    [TENANT, id],
  );
  if (row === undefined) return "no such artifact";
  const [hash, type, oid] = row;
  await s.changed("DELETE FROM llmspell.artifacts WHERE tenant_id = $1 AND artifact_id = $2", [TENANT, id]);
  const [count] = await s.rows(
    "SELECT reference_count FROM llmspell.artifact_content WHERE tenant_id = $1 AND content_hash = $2",
    [TENANT, hash],
  );
  if (count?.[0] !== 1) return "content stays";
  if (type === "large_object") await s.transaction(() => s.rows("SELECT lo_unlink($1)", [oid])).catch(() => {});
  await s.changed("DELETE FROM llmspell.artifact_content WHERE tenant_id = $1 AND content_hash = $2", [TENANT, hash]);
  return "content deleted";
}

const NEW_CONTENT = Buffer.alloc(2 * MIB + 5, "new ");

const artifacts: Step[] = [
  [
    "artifact store",
    async (s) => [
      await storeContent(s, "new-small", Buffer.from("small")),
      await storeContent(s, "new-large", NEW_CONTENT),
      await storeArtifact(s, "a:new-small", 100, "new-small"),
      await storeArtifact(s, "a:new-large", 101, "new-large"),
    ],
  ],
  [
    "artifact read",
    async (s) => [
      (await readContent(s, "new-large")) === sha256(NEW_CONTENT),
      await readContent(s, "new-small"),
      await readContent(s, "imported-large"),
      await readContent(s, "imported-shared"),
      await readContent(s, "imported-small"),
    ],
  ],
  [
    "artifact list",
    (s) =>
      s.rows("SELECT artifact_id FROM llmspell.artifacts WHERE tenant_id = $1 AND session_id = $2 ORDER BY sequence", [
        TENANT,
        uuid(30),
      ]),
  ],
  [
    "artifact statistics",
    (s) =>
      s.rows(
        `SELECT count(*), count(DISTINCT content_hash), CAST(COALESCE(sum(size_bytes), 0) AS BIGINT) FROM llmspell.artifacts
         WHERE tenant_id = $1`,
        [TENANT],
      ),
  ],
  ["artifact delete, new and large", (s) => deleteArtifact(s, "a:new-large")],
  ["artifact delete, new and small", (s) => deleteArtifact(s, "a:new-small")],
  ["artifact delete, imported and large", (s) => deleteArtifact(s, "a:imported-large")],
  ["artifact delete, imported, the first of two", (s) => deleteArtifact(s, "a:imported-shared-1")],
  ["artifact read, the second of two", (s) => readContent(s, "imported-shared")],
  ["artifact delete, imported, the second of two", (s) => deleteArtifact(s, "a:imported-shared-2")],
  ["artifact delete, imported and small", (s) => deleteArtifact(s, "a:imported-small")],
  [
    "contents that are left",
    (s) => s.rows("SELECT content_hash FROM llmspell.artifact_content WHERE tenant_id = $1 ORDER BY 1", [TENANT]),
  ],
];

const isolation: Step[] = [
  [
    "another tenant's rows",
    async (s) => {
      await s.use("tenant-b");
      const counts: unknown[] = [];
      for (const table of [
        "entities",
        "sessions",
        "kv_store",
        "event_log",
        "hook_history",
        "api_keys",
        "vector_embeddings_768",
      ])
        counts.push((await s.rows(`SELECT count(*) FROM llmspell.${table}`))[0]?.[0]);
      return counts;
    },
  ],
  ["a row for another tenant", (s) => setKv(s, "k:foreign")],
  [
    "no tenant",
    async (s) => {
      await s.use("");
      const [row] = await s.rows("SELECT count(*) FROM llmspell.kv_store");
      await s.use(TENANT);
      return row;
    },
  ],
];

const clear: Step[] = [
  [
    "clear",
    async (s) => {
      const counts: number[] = [];
      for (const table of ["agent_states", "workflow_states", "sessions", "kv_store"])
        counts.push(await s.changed(`DELETE FROM llmspell.${table}`));
      return counts;
    },
  ],
];

/** In the order in which llmspell might do them. */
export const STEPS: readonly Step[] = [
  ...DIMENSIONS.flatMap(vectors),
  ...graph,
  ...states,
  ...events,
  ...hooks,
  ...keys,
  ...artifacts,
  ...isolation,
  ...clear,
];
