/** What llmspell 0.14's storage for patterns, states, sessions and keys with values does, in our own words. */
import { type LlmspellSession, type Step, sha256, TENANT, uuid } from "./postgres-session.js";

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

export const setKv = (s: LlmspellSession, key: string): Promise<number> =>
  s.changed(
    `INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ($1, $2, $3)
     ON CONFLICT (tenant_id, key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()`,
    [TENANT, key, Buffer.from("changed")],
  );

export const states: Step[] = [
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
