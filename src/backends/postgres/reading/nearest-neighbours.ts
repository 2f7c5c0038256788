/** What an HNSW index answers. */
import type { RecordKind } from "../../../catalog/index.js";
import type { PostgresConnection } from "../session/connection.js";

const INDEX = `
SELECT pg_catalog.quote_ident(e.nspname) AS schema
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am a ON a.oid = c.relam
CROSS JOIN (SELECT n.nspname FROM pg_catalog.pg_extension x JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace
            WHERE x.extname = 'vector') e
WHERE i.indrelid = pg_catalog.to_regclass($1) AND a.amname = 'hnsw' AND i.indisvalid AND i.indpred IS NULL
LIMIT 1`;

/**
 * The ids of the `count` nearest to each vector, by the index on its cosine distance. Undefined where there is none. To be
 * called in a transaction.
 */
export async function nearestByIndex(
  connection: PostgresConnection,
  kind: RecordKind,
  vectors: readonly Float32Array[],
  count: number,
): Promise<readonly (readonly string[])[] | undefined> {
  const table = `llmspell.${kind.postgres.table}`;
  const { rows } = await connection.query<{ schema: string }>(INDEX, [table]);
  const schema = rows[0]?.schema;
  if (schema === undefined) return undefined;
  await connection.query("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off");
  const answers: string[][] = [];
  for (const vector of vectors) {
    const { rows: found } = await connection.query<{ id: string }>(
      `SELECT id::text AS id FROM ${table} ORDER BY embedding OPERATOR(${schema}.<=>) $1::${schema}.vector LIMIT ${count}`,
      [`[${vector.join()}]`],
    );
    answers.push(found.map(({ id }) => id));
  }
  return answers;
}
