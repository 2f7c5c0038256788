/** What is wrong in a database besides its records: schema, partitions, large objects. Only reads. */
import { catalog } from "./llmspell/catalog/index.js";
import type { SchemaComparison, SchemaDifference } from "./llmspell/schema/comparison.js";
import { postgresConnector, type SourceOptions, type StoreLocation } from "./stores.js";
import type { Finding } from "./verify/references.js";

/** None of a document. */
export async function findingsOf(
  location: StoreLocation,
  options: Pick<SourceOptions, "signal" | "connectionTimeoutSeconds">,
): Promise<Finding[]> {
  switch (location.type) {
    case "sqlite": {
      const [{ openSqliteForReading }, { readSqliteSchema }] = await Promise.all([
        import("./backends/sqlite/open.js"),
        import("./llmspell/schema/migrator.js"),
      ]);
      const database = openSqliteForReading(location.path);
      try {
        return schemaFindings(readSqliteSchema(database).comparison);
      } finally {
        database.close();
      }
    }
    case "postgres":
    case "pglite":
      return postgresFindings(location, options);
    case "document":
    case "stream":
      return [];
  }
}

async function postgresFindings(
  location: StoreLocation & { readonly type: "postgres" | "pglite" },
  options: Pick<SourceOptions, "signal" | "connectionTimeoutSeconds">,
): Promise<Finding[]> {
  const [{ findLostLargeObjects }, { hasMisplacedPartitions }, { inTransaction }, { readPostgresSchema }] =
    await Promise.all([
      import("./backends/postgres/database/lost-large-objects.js"),
      import("./backends/postgres/database/partition-repair.js"),
      import("./backends/postgres/session/transaction.js"),
      import("./llmspell/schema/migrator.js"),
    ]);
  const connection = await (await postgresConnector(location, options))();
  try {
    const findings = schemaFindings((await readPostgresSchema(connection)).comparison);
    const { lost, misplaced } = await inTransaction(connection, "read", async () => ({
      lost: await findLostLargeObjects(connection, catalog.kinds),
      misplaced: await hasMisplacedPartitions(connection),
    }));
    if (misplaced)
      findings.push({
        check: "partitions",
        object: "event_log",
        count: 1,
        message:
          "partitions of the event log are missing, or not cut by the months of llmspell's time zone: `llmspell database migrate` puts them right",
      });
    if (lost.count > 0)
      findings.push({
        check: "large-objects",
        object: "artifacts.content",
        count: lost.count,
        message: `${lost.count} large object${lost.count === 1 ? "" : "s"} of llmspell's that no row names, first: ${lost.first}`,
      });
    return findings;
  } finally {
    await connection.close();
  }
}

/**
 * What is gone, or is there and does not work; and indexes of llmspell's own that `database migrate` would make again. What
 * else it would add is no fault, nor which rowids vectors have.
 */
function schemaFindings({ missing, pending, broken }: SchemaComparison): Finding[] {
  const lost = [...missing, ...pending.filter(isIndex)];
  const repaired = broken.filter(({ object }) => !object.startsWith("rowids "));
  return [
    ...lost.map(({ object }) => finding(object, `${object} is missing: \`llmspell database migrate\` makes it again`)),
    ...repaired.map(({ object, repair }) => finding(object, `${object} is missing or does not work: ${repair}`)),
  ];
}

/** Of a table that is there; those that we add to llmspell's schema (S1 and on) a database may lack. */
function isIndex({ object, migration }: SchemaDifference): boolean {
  return object.startsWith("index ") && migration.startsWith("V");
}

function finding(object: string, message: string): Finding {
  return { check: "schema", object, count: 1, message };
}
