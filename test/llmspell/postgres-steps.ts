/** All that llmspell 0.14's storage classes for PostgreSQL do, statement by statement. */
import { artifacts } from "./postgres-artifact-steps.js";
import { events, hooks, keys } from "./postgres-log-steps.js";
import { DIMENSIONS, type Step, TENANT } from "./postgres-session.js";
import { setKv, states } from "./postgres-state-steps.js";
import { graph, vectors } from "./postgres-vector-graph-steps.js";

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
