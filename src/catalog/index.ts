/** Catalogs: the record kinds that a run moves, as data. llmspell's own is in src/llmspell/catalog. */
import type { Field, RecordKind } from "./types.js";

export * from "./types.js";

/** A set of record kinds. Everything takes one, so that a test (or a fork) can add a kind. */
export interface Catalog {
  /** In the document's order. */
  readonly kinds: readonly RecordKind[];
  /** Parents before children: the order for a sink that checks foreign keys at once. */
  readonly importOrder: readonly RecordKind[];
  /** By path, e.g. `artifacts.content`. */
  readonly byPath: ReadonlyMap<string, RecordKind>;
  /** The paths that foreign keys refer to. */
  readonly parents: ReadonlySet<string>;
}

/** Builds a catalog; throws when two kinds share a path or the foreign keys form a cycle. */
export function createCatalog(kinds: readonly RecordKind[]): Catalog {
  const byPath = new Map<string, RecordKind>();
  for (const kind of kinds) {
    if (byPath.has(kind.path)) throw new Error(`two record kinds at ${kind.path}`);
    byPath.set(kind.path, kind);
  }
  const parents = new Set(kinds.flatMap(({ foreignKeys }) => foreignKeys.map(({ references }) => references)));
  return { kinds, byPath, parents, importOrder: orderByForeignKeys(kinds, byPath) };
}

function orderByForeignKeys(kinds: readonly RecordKind[], byPath: ReadonlyMap<string, RecordKind>): RecordKind[] {
  const ordered = new Set<RecordKind>();
  const visit = (kind: RecordKind, trail: readonly RecordKind[]): void => {
    if (ordered.has(kind)) return;
    if (trail.includes(kind)) throw new Error(`foreign keys form a cycle at ${kind.path}`);
    for (const { references } of kind.foreignKeys) {
      const parent = byPath.get(references);
      if (parent === undefined) throw new Error(`${kind.path} refers to ${references}, which is no record kind`);
      if (parent !== kind) visit(parent, [...trail, kind]);
    }
    ordered.add(kind);
  };
  for (const kind of kinds) visit(kind, []);
  return [...ordered];
}

/** What a program sees of a field (docs/plugins.md). */
export interface FieldValues {
  text: string;
  uuid: string;
  int4: number;
  int8: number | bigint;
  bool: boolean;
  /** Microseconds since 1970. */
  timestamp: bigint | "infinity" | "-infinity";
  // biome-ignore lint/suspicious/noExplicitAny: any JSON
  json: any;
  bytes: Buffer;
  vector: Float32Array;
  text_array: (string | null)[];
}
/** The name of a field's column. */
export function columnOf(field: Field): string {
  return field.column ?? field.name;
}

/** The companion column in SQLite that holds a timestamp's exact value. */
export function exactColumnOf(field: Field): string {
  return `${columnOf(field)}_us`;
}

/** The fields that are columns in the backend, in the catalog's order. */
export function storedFields(kind: RecordKind, backend: "postgresql" | "sqlite"): readonly Field[] {
  return kind.fields.filter(
    (field) => field.constant === undefined && !(backend === "sqlite" && field.sqlite === false),
  );
}

/** The field, `path.name`, whose values an id is one of: its own, or the one that it refers to. */
export function idDomain(kind: RecordKind, field: Field): string {
  const reference = field.refersTo ?? field.beginsWith;
  if (reference !== undefined) return `${reference.kind}.${reference.field}`;
  for (const { fields, references, referencedFields } of kind.foreignKeys) {
    const at = fields.indexOf(field.name);
    if (at >= 0) return `${references}.${referencedFields[at]}`;
  }
  return `${kind.path}.${field.name}`;
}

/** The index of a field in `kind.fields` (and so in a RecordBatch); throws for a name that is not there. */
export function fieldIndex(kind: RecordKind, name: string): number {
  const index = kind.fields.findIndex((field) => field.name === name);
  if (index < 0) throw new Error(`${kind.path} has no field ${name}`);
  return index;
}
