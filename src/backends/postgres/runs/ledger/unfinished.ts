/** What a store that is only read says of a run that came to no end, where the role may know of it. */

import { StorageError } from "../../../../errors.js";
import type { PostgresApplication } from "../../application.js";
import { quote, schemaSql } from "../../database/table-names.js";
import type { PostgresConnection } from "../../session/connection.js";
import { Ledger, type RunRow } from "./ledger.js";

export type UnfinishedRun = Pick<RunRow, "run" | "state" | "source" | "started">;

/** To be called in a transaction, which no error ends. */
export async function findUnfinishedRun(
  connection: PostgresConnection,
  application: PostgresApplication | undefined,
): Promise<UnfinishedRun | undefined> {
  if (application?.keepsRuns !== true) return undefined;
  const { rows } = await connection.query<{ readable: boolean }>(
    `SELECT pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS readable
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = 'storage_runs' AND c.relkind = 'r' AND NOT c.relrowsecurity`,
    [application.schema],
  );
  if (rows[0]?.readable !== true) return undefined;
  const runs = `${schemaSql(application.schema)}.${quote("storage_runs")}`;
  await connection.query("SAVEPOINT llmspell_runs; SET LOCAL lock_timeout = '5s'");
  try {
    return await new Ledger(connection, { runs, parts: "", steps: "" }).unfinished();
  } catch {
    // Locked, or no table of ours.
    return undefined;
  } finally {
    await connection.query("ROLLBACK TO SAVEPOINT llmspell_runs; RELEASE SAVEPOINT llmspell_runs").catch(() => {});
  }
}

/** A clause. */
export function describeUnfinished({ run, state, source, started }: UnfinishedRun): string {
  const what = state === "undoing" ? "is being undone" : "is unfinished";
  return `the database has a run that ${what} (run ${run}, begun ${started} from ${source}; \`llmspell storage runs\`)`;
}

/** E_RUN_UNFINISHED for whoever would write to the target. */
export function unfinishedRun({ run, source, started, state }: UnfinishedRun): StorageError {
  const hint =
    state === "undoing"
      ? "`llmspell storage undo` comes to its end."
      : "`llmspell storage resume`, with the options that it was begun with, goes on with it; `llmspell storage undo` takes it back.";
  return new StorageError("E_RUN_UNFINISHED", `the target has an unfinished run: ${run}, of ${started}`, {
    detail: `it ${state === "undoing" ? "is being undone, and was" : "was"} begun from ${source}`,
    hint,
  });
}

/** What is written beside a run would stay when it is undone, and be in the way when it is resumed: E_RUN_UNFINISHED where the role may know of one. To be called in a transaction. */
export async function refuseUnfinishedRun(
  connection: PostgresConnection,
  application: PostgresApplication | undefined,
): Promise<void> {
  const found = await findUnfinishedRun(connection, application);
  if (found !== undefined) throw unfinishedRun(found);
}
