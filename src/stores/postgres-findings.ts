/** What is wrong in a PostgreSQL database besides its records: schema, partitions, large objects. Only reads. */
import type { PostgresConnection } from "../backends/postgres/session/connection.js";
import { inTransaction } from "../backends/postgres/session/transaction.js";
import type { Catalog } from "../catalog/index.js";
import { hasMisplacedPartitions } from "../llmspell/partitions/repair.js";
import { findLostLargeObjects } from "../llmspell/postgres/lost-large-objects.js";
import { readPostgresSchema } from "../llmspell/schema/migrator.js";
import type { Finding } from "../verify/comparison/references.js";
import { schemaFindings } from "./findings.js";

export async function postgresFindings(connection: PostgresConnection, catalog: Catalog): Promise<Finding[]> {
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
}
