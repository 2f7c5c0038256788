/** Which migrations a database has, on either backend: llmspell's record of them, ours, and what its tables say. */

/** Our own migrations count from here; below are llmspell's versions. */
export const FIRST_STORAGE_MIGRATION = 101;

/** One row of llmspell's migrations table, or of ours. */
export interface RecordedMigration {
  readonly version: number;
  readonly name: string;
  /** As the table has it. PostgreSQL: text of a time (refinery keeps RFC 3339); SQLite: Unix seconds, as text. */
  readonly appliedAt: string;
}

export interface SchemaMigrations {
  /** llmspell's own record, ascending; never written by us. In SQLite it has no row for V3. */
  readonly llmspell: readonly RecordedMigration[];
  /** Ours, ascending. */
  readonly ours: readonly RecordedMigration[];
  /** llmspell's versions whose tables are there, whoever made them. */
  readonly present: ReadonlySet<number>;
}

/** The tables that a version makes in both backends; those of V2, V3 and V14 are the backend's own, and others have none. */
const TABLES: readonly VersionTables[] = [
  [4, ["entities", "relationships"]],
  [5, ["procedural_patterns"]],
  [6, ["agent_states"]],
  [7, ["kv_store"]],
  [8, ["workflow_states"]],
  [9, ["sessions"]],
  [10, ["artifact_content", "artifacts"]],
  [11, ["event_log"]],
  [13, ["hook_history"]],
];

export type VersionTables = readonly [version: number, tables: readonly string[]];

/** The versions whose tables are all there. `own`: those of the backend alone. */
export function versionsWithTables(own: readonly VersionTables[], has: (table: string) => boolean): Set<number> {
  const present = [...own, ...TABLES].filter(([, tables]) => tables.every(has));
  return new Set(present.map(([version]) => version));
}

/** llmspell's versions for a document's header, ascending, e.g. ["V1", "V3"]; always begins with "V1". */
export function headerVersions({ llmspell, ours, present }: SchemaMigrations): string[] {
  const versions = new Set([1, ...present]);
  for (const { version } of [...llmspell, ...ours]) {
    if (version < FIRST_STORAGE_MIGRATION) versions.add(version);
  }
  return [...versions].sort((a, b) => a - b).map((version) => `V${version}`);
}
