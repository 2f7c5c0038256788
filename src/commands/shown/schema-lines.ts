/** How a database's schema compares, for people and for the exit status. */
import { type ErrorCode, StorageError } from "../../errors.js";
import type { SchemaComparison, SchemaDifference } from "../../llmspell/schema/comparison.js";
import type { MigrationState } from "../../llmspell/schema/migrator.js";

/** Objects that are named one by one. */
const MOST_NAMED = 20;

const MIGRATE = "Run `llmspell database migrate`.";

function named(differences: readonly SchemaDifference[]): string {
  const names = differences.slice(0, MOST_NAMED).map(({ object, migration }) => `${object} (${migration})`);
  const more = differences.length - names.length;
  return `${names.join(", ")}${more > 0 ? `, and ${more} more` : ""}`;
}

/** SQL ends with a semicolon, a command of ours does not. */
function statement(repair = ""): string {
  return repair.startsWith("llmspell ") ? `Run \`${repair}\`.` : `${repair};`;
}

export function pendingIds(migrations: readonly MigrationState[]): string[] {
  return migrations.filter(({ applied, leftOut }) => !applied && leftOut === undefined).map(({ id }) => id);
}

/** The last line says whether there is something to do. */
export function schemaLines(migrations: readonly MigrationState[], comparison: SchemaComparison): string[] {
  const { missing, pending, broken, notes } = comparison;
  const ids = pendingIds(migrations);
  const lines = broken.map(({ object, migration, repair }) => `Broken: ${object} (${migration}). ${statement(repair)}`);
  if (missing.length > 0) lines.push(`Missing: ${named(missing)}`);
  // Where a migration was never applied, that says it all.
  const partial = pending.filter(({ object }) => !object.startsWith("table "));
  if (partial.length > 0 && partial.length === pending.length) lines.push(`To be added: ${named(partial)}`);
  for (const note of notes) lines.push(`Note: ${note}`);
  if (ids.length > 0) lines.push(`Pending: ${ids.join(", ")}. ${MIGRATE}`);
  else lines.push(broken.length === 0 ? "✅ The schema is up to date" : "The schema is not whole");
  return lines;
}

/** What is wrong with the schema: what llmspell made and is gone, or does not work; with `strict` also what is pending. */
export function schemaFault(
  migrations: readonly MigrationState[],
  { missing, broken }: SchemaComparison,
  strict: boolean,
): StorageError | undefined {
  const [first, ...others] = [...broken, ...missing];
  const fault = (code: ErrorCode, message: string, hint: string): StorageError =>
    new StorageError(code, message, { hint });
  if (first !== undefined) {
    const repairs = [...new Set(broken.map(({ repair }) => statement(repair)))];
    return fault(
      "E_SCHEMA",
      `${first.object} is missing or does not work${others.length === 0 ? "" : `, and ${others.length} more`}`,
      [
        ...(missing.length > 0 ? [MIGRATE] : []),
        ...(repairs.length > 0 ? [`To put it right: ${repairs.join(" ")}`] : []),
      ].join(" "),
    );
  }
  const ids = pendingIds(migrations);
  if (!strict || ids.length === 0) return undefined;
  return fault("E_NOT_MIGRATED", `migrations are pending: ${ids.join(", ")}`, MIGRATE);
}
