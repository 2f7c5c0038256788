/** `llmspell database migrate | health | migrations list` */

import { migrateDatabase } from "../api/databases.js";
import type { Config } from "../config/index.js";
import { EXIT, StorageError } from "../errors.js";
import type { SchemaComparison } from "../llmspell/schema/migrator.js";
import type { AnyLocation, DatabaseParts, Inspection } from "../stores/backend.js";
import { chooseStore, databaseOf, type StoreLocation, sessionOptions, storeName } from "../stores/index.js";
import type { Output } from "./shown/output.js";
import { schemaFault, schemaLines } from "./shown/schema-lines.js";
import { announcedConfig, type CommonFlags, outputFor, type StoreFlags } from "./transfer.js";

export interface DatabaseFlags extends CommonFlags, StoreFlags {
  /** `health`: migrations that are pending are a fault, too. */
  readonly strict?: boolean;
}

export interface MigrateFlags extends DatabaseFlags {
  readonly repairRowids?: boolean;
}

interface Chosen {
  readonly location: StoreLocation;
  readonly database: DatabaseParts<AnyLocation>;
  readonly config: Config;
  readonly output: Output;
  /** The begin of the command's `--json` result. */
  readonly head: object;
}

/** Names the database first, and what chose it when no flag did. */
function choose(flags: DatabaseFlags): Chosen {
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  const { location, chosenBecause, because } = chooseStore(flags, config);
  const name = storeName(location);
  output.line(`Database: ${name}${because === undefined ? "" : ` (${because})`}`);
  if (chosenBecause !== undefined) {
    output.line(`Hint: chosen because ${chosenBecause}; --backend or --database names another.`);
  }
  if (because !== undefined) for (const warning of config.warnings) output.warn(warning);
  const head = {
    database: name,
    ...(because === undefined ? {} : { because }),
    ...(chosenBecause === undefined ? {} : { chosenBecause }),
  };
  // chooseStore refuses documents.
  return { location, database: databaseOf(location) as DatabaseParts<AnyLocation>, config, output, head };
}

/** Gives the exit status. */
export async function runDatabaseMigrate(flags: MigrateFlags, signal: AbortSignal): Promise<number> {
  const { location, config, output, head } = choose(flags);
  const { repairRowids } = flags;
  const report = await migrateDatabase(location, {
    config,
    signal,
    onWarning: (warning) => output.warn(warning),
    ...(repairRowids === undefined ? {} : { repairRowids }),
  });
  const { warnings } = report;
  for (const { id, name } of report.applied) output.line(`  applied ${id} ${name}`);
  const moved = Object.fromEntries(report.moved ?? []);
  for (const [dimension, vectors] of Object.entries(moved))
    output.line(`  gave ${vectors} vectors of ${dimension} dimensions other rowids`);
  const count = report.applied.length;
  if (count > 0) output.line(`✅ Applied ${count} ${count === 1 ? "migration" : "migrations"}`);
  else output.line(report.broken === undefined ? "✅ The schema is up to date" : "Nothing to apply");
  output.result({
    ...head,
    applied: report.applied,
    warnings,
    ...(flags.repairRowids ? { moved } : {}),
  });
  return EXIT.done;
}

/** Gives the exit status. */
export async function runMigrationsList(flags: DatabaseFlags, signal: AbortSignal): Promise<number> {
  const chosen = choose(flags);
  const { output, head } = chosen;
  const { migrations, comparison } = await examine(chosen, signal);
  const idWidth = Math.max(...migrations.map(({ id }) => id.length));
  for (const { id, name, applied, recordedBy, leftOut } of migrations) {
    const by = recordedBy === undefined ? "" : ` (recorded by ${recordedBy})`;
    const state = applied ? "applied" : leftOut === undefined ? "pending" : "left out";
    output.line(
      `  ${id.padEnd(idWidth)}  ${state.padEnd(7)}  ${name}${by}${leftOut === undefined ? "" : ` (${leftOut})`}`,
    );
  }
  for (const line of schemaLines(migrations, comparison)) output.line(line);
  output.result({ ...head, migrations, comparison: listed(comparison) });
  return EXIT.done;
}

/**
 * Gives the exit status: 0 also for a database that has no schema yet, or lacks what is ours; with --strict not where
 * migrations are pending.
 */
export async function runDatabaseHealth(flags: DatabaseFlags, signal: AbortSignal): Promise<number> {
  const chosen = choose(flags);
  const { output, head } = chosen;
  const { facts, migrations, comparison, json } = await examine(chosen, signal);
  output.line("✅ Connected");
  for (const fact of facts) output.line(fact);
  const applied = migrations.filter((migration) => migration.applied).map(({ id }) => id);
  output.line(`Migrations: ${applied.length === 0 ? "none" : applied.join(", ")}`);
  for (const line of schemaLines(migrations, comparison)) output.line(ofThisDatabase(line, flags));
  const fault = faultOf(schemaFault(migrations, comparison, flags.strict === true), flags);
  const healthy = fault === undefined;
  const result = { ...head, connected: true, healthy, ...json, migrations, comparison: listed(comparison) };
  output.result(result);
  if (fault === undefined) return EXIT.done;
  output.error(fault, true);
  return fault.exitStatus;
}

/** The commands that a text names, for the database at hand: as they stand, they would act on the configured one. */
function ofThisDatabase(text: string, { database }: DatabaseFlags): string {
  if (database === undefined) return text;
  const named = /^[\w@%+=:,./-]+$/.test(database) ? database : `'${database.replaceAll("'", "'\\''")}'`;
  return text.replaceAll("llmspell database migrate", `llmspell database migrate --database ${named}`);
}

function faultOf(fault: StorageError | undefined, flags: DatabaseFlags): StorageError | undefined {
  const { hint } = fault?.context ?? {};
  if (fault === undefined || hint === undefined) return fault;
  return new StorageError(fault.code, fault.message, { ...fault.context, hint: ofThisDatabase(hint, flags) });
}

/** The comparison's lists, without what a backend keeps beside them. */
function listed({ missing, pending, broken, notes }: SchemaComparison): SchemaComparison {
  return { missing, pending, broken, notes };
}

/** Looks at a database without changing it. */
async function examine({ location, database, config }: Chosen, signal: AbortSignal): Promise<Inspection> {
  const { catalog } = await import("../llmspell/catalog/index.js");
  return database.inspect(location, { ...sessionOptions(location, { signal }, config), catalog });
}
