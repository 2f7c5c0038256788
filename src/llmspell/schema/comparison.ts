/** What a database's schema is beside the one that the migrations of this release make. */
import { migrationId } from "./migration.js";

/** An object of the schema that is not there, or not as it was made. */
export interface SchemaDifference {
  /** As people name it, e.g. `index sessions.idx_sessions_status`. */
  readonly object: string;
  /** The migration that makes it, e.g. `V9`. */
  readonly migration: string;
  /** Where `database migrate` does not put it right: the statement or the command that does. */
  readonly repair?: string;
}

/**
 * The comparison of either backend. `broken` and `missing` are faults of the database; `pending` is what
 * `database migrate` adds, and no fault.
 */
export interface SchemaComparison {
  /** llmspell's own record says that it was made, and it is gone; `database migrate` makes it again. */
  readonly missing: readonly SchemaDifference[];
  /** Neither record of llmspell's says that it is there, or it is ours: `database migrate` makes it. */
  readonly pending: readonly SchemaDifference[];
  /** No migration brings it back: a column, a constraint, an index that is not valid, a trigger that is switched off. */
  readonly broken: readonly SchemaDifference[];
  /** Lines for people: what is neither. */
  readonly notes: readonly string[];
}

/**
 * What the migrations make, by migration and then by object: its definition, or "". An object is written
 * `kind table.name` or `kind name`, and `table name` stands for a table itself.
 */
export type SchemaObjects = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** An object that is there. */
export interface FoundObject {
  readonly definition: string;
  /** It is there and does not do its work: the statement that puts it right. */
  readonly repair?: string;
}

export interface Compared {
  readonly expected: SchemaObjects;
  readonly found: ReadonlyMap<string, FoundObject>;
  /** The versions that llmspell itself recorded. */
  readonly recorded: ReadonlySet<number>;
  /** The statement that brings an object back which no migration does; undefined: a migration does. */
  repairOf(object: string, definition: string): string | undefined;
}

/** `kind`, table and name of an object's key; a function or a view has no table. */
export function objectParts(object: string): { kind: string; table: string | undefined; name: string } {
  const [, kind = "", table, name = ""] = /^([\w-]+) (?:(\w+)\.)?(.+)$/.exec(object) ?? [];
  return { kind, table, name };
}

/** Objects of the same table, kind and definition under another name do the same work. */
function isThereByAnotherName(object: string, definition: string, found: Compared["found"]): boolean {
  const { kind, table, name } = objectParts(object);
  if (definition === "" || !["index", "constraint"].includes(kind)) return false;
  const general = definition.replace(name, "");
  return [...found].some(([other, { definition: text }]) => {
    const parts = objectParts(other);
    return parts.kind === kind && parts.table === table && text.replace(parts.name, "") === general;
  });
}

/** Objects of tables that are gone are told by their table alone. */
export function compareSchema({ expected, found, recorded, repairOf }: Compared): SchemaComparison {
  const missing: SchemaDifference[] = [];
  const pending: SchemaDifference[] = [];
  const broken: SchemaDifference[] = [];
  for (const [migration, objects] of Object.entries(expected))
    for (const [object, definition] of Object.entries(objects)) {
      const there = found.get(object);
      if (there?.repair !== undefined) broken.push({ object, migration, repair: there.repair });
      if (there !== undefined || isThereByAnotherName(object, definition, found)) continue;
      const { table } = objectParts(object);
      if (table !== undefined && !found.has(`table ${table}`)) continue;
      const repair = repairOf(object, definition);
      if (repair !== undefined) broken.push({ object, migration, repair });
      else if ([...recorded].some((version) => migrationId(version) === migration)) missing.push({ object, migration });
      else pending.push({ object, migration });
    }
  return { missing, pending, broken, notes: [] };
}
