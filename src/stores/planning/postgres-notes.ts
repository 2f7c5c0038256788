/** What a plan tells of a PostgreSQL target beside what a load decides: rights, extensions, indexes, migrations. */
import { inspectPostgres } from "../../backends/postgres/database/inspect.js";
import type { PostgresConnection } from "../../backends/postgres/session/connection.js";
import { readImportRights } from "../../llmspell/postgres/import-rights.js";
import { readPostgresSchema } from "../../llmspell/schema/migrator.js";

export interface PostgresNotes {
  readonly grants: readonly string[];
  readonly notes: readonly string[];
}

/** Reads the catalogs. */
export async function readPostgresNotes(connection: PostgresConnection): Promise<PostgresNotes> {
  const state = await inspectPostgres(connection);
  const notes: string[] = [];
  const vector = state.extensions.get("vector");
  if (vector?.installed === undefined)
    notes.push(
      vector?.available === undefined
        ? "the extension vector is not available on this server: install pgvector, then run `llmspell database migrate`"
        : "the extension vector is not installed: CREATE EXTENSION vector, or `llmspell database migrate`",
    );
  if (!state.schema) return { grants: [], notes };
  const { missing, replacing, oneTenant, makesPartitions } = await readImportRights(connection);
  const { comparison, migrations } = await readPostgresSchema(connection);
  for (const { object, repair } of comparison.broken)
    notes.push(`${object} is missing or does not work${repair === undefined ? "" : `: ${repair}`}`);
  for (const { object, migration } of comparison.missing)
    notes.push(`${object} of ${migration} is missing: \`llmspell database migrate\` makes it again`);
  const open = migrations.filter(({ applied, leftOut }) => !applied && leftOut === undefined).map(({ id }) => id);
  if (open.length > 0)
    notes.push(`migrations that are not applied: ${open.join(", ")}; \`llmspell database migrate\` does`);
  for (const statement of replacing) notes.push(`to replace large contents that are there: ${statement}`);
  if (oneTenant) notes.push(`row-level security binds the role: one tenant at a time, with --tenant`);
  if (!makesPartitions && !state.role.superuser)
    notes.push("events of months that have no partition need the owner of llmspell.event_log, who may make them");
  return { grants: missing, notes };
}
