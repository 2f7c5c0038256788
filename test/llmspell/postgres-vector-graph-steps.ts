/** What llmspell 0.14's storage for vectors and for its knowledge graph does, in our own words. */
import { axis, type LlmspellSession, type Step, TENANT, uuid } from "./postgres-session.js";

/** Vectors of one dimension: insert, search with and without a scope, metadata, the deletion of a scope. */
export function vectors(dimension: number): Step[] {
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

export const graph: Step[] = [
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
