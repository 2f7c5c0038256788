/** What a migration is, on either backend. */
import { readdirSync, readFileSync } from "node:fs";
import { StorageError } from "../../errors.js";
import { FIRST_STORAGE_MIGRATION, type RecordedMigration } from "./recorded.js";

/** One file NNN-name.sql of <backend>/sql: NNN below 101 is llmspell's version, from there on ours. */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

export interface MigrationState {
  /** llmspell's `V1`, `V2` …, or ours: `S1`, `S2` … */
  readonly id: string;
  readonly name: string;
  readonly applied: boolean;
  /** Not applied, and `database migrate` does not apply it: why. */
  readonly leftOut?: string;
  /** Whose table records it; undefined where the database's tables alone show it, or it is not applied. */
  readonly recordedBy?: "llmspell" | "llmspell-storage";
  /** When, as that table has it (PostgreSQL: text of a time; SQLite: Unix seconds). */
  readonly appliedAt?: string;
}

export interface MigrationReport {
  /** What this run applied, in order; empty when there was nothing to do. */
  readonly applied: readonly MigrationState[];
  /** What could not be done and is not needed for moving data, e.g. creating the role llmspell_app. */
  readonly warnings: readonly string[];
  /** SQLite, with `repairRowids`: how many vectors got other rowids, by dimension. */
  readonly moved?: ReadonlyMap<number, number>;
  /** Objects that are gone or do not work, and that no migration brings back; each has a warning. Absent where there is none. */
  readonly broken?: readonly string[];
}

/** The migrations of a backend, ascending. */
export function loadMigrations(backend: "postgres" | "sqlite"): Migration[] {
  const folder = new URL(`./${backend}/sql/`, import.meta.url);
  const migrations: Migration[] = [];
  for (const file of readdirSync(folder).sort()) {
    const match = /^(\d{3})-(.+)\.sql$/.exec(file);
    if (match === null) continue;
    migrations.push({
      version: Number(match[1]),
      name: match[2] as string,
      sql: readFileSync(new URL(file, folder), "utf8"),
    });
  }
  return migrations;
}

export function migrationId(version: number): string {
  return version < FIRST_STORAGE_MIGRATION ? `V${version}` : `S${version - FIRST_STORAGE_MIGRATION + 1}`;
}

/** Every migration that is known here or recorded there, ascending. */
export function migrationStates(
  migrations: readonly Migration[],
  pending: ReadonlySet<number>,
  llmspell: readonly RecordedMigration[],
  ours: readonly RecordedMigration[],
): MigrationState[] {
  const names = new Map([...ours, ...llmspell, ...migrations].map(({ version, name }) => [version, name]));
  return [...names]
    .sort(([a], [b]) => a - b)
    .map(([version, name]) => {
      const state = { id: migrationId(version), name, applied: !pending.has(version) };
      if (!state.applied) return state;
      const theirs = llmspell.find((row) => row.version === version);
      const row = theirs ?? ours.find((candidate) => candidate.version === version);
      if (row === undefined) return state;
      return { ...state, recordedBy: theirs ? "llmspell" : "llmspell-storage", appliedAt: row.appliedAt };
    });
}

/** Refuses a database that a newer release has migrated: E_SCHEMA. */
export function refuseNewer(migrations: readonly Migration[], ours: readonly RecordedMigration[]): void {
  const unknown = ours.find(({ version }) => !migrations.some((migration) => migration.version === version));
  if (unknown === undefined) return;
  throw new StorageError("E_SCHEMA", "the database was migrated by a newer release of llmspell-storage", {
    detail: `its migration ${migrationId(unknown.version)} (${unknown.name}) is not known here`,
    hint: "Install that release.",
  });
}

/** The error of one migration, naming it; what a missing table means elsewhere is here a schema that is not as expected. */
export function migrationError({ version, name }: Migration, error: StorageError, hint?: string): StorageError {
  const code = error.code === "E_NOT_MIGRATED" ? "E_SCHEMA" : error.code;
  const { hint: _, ...context } = error.context;
  const advice = hint ?? (code === error.code ? error.context.hint : undefined);
  const message = `migration ${migrationId(version)} (${name}) failed: ${error.message}`;
  return new StorageError(code, message, advice === undefined ? context : { ...context, hint: advice }, error.cause);
}
