/** Catalogs: the record kinds that a run moves, as data. llmspell's own is in src/llmspell/catalog. */
import { orderByForeignKeys } from "./import-order.js";
import { type Field, type RecordKind, UNSAID } from "./types.js";

export * from "./types.js";

/** A set of record kinds. Everything takes one, so that a test (or a fork) can add a kind. */
export interface Catalog {
  /** In the document's order. */
  readonly kinds: readonly RecordKind[];
  /** Parents before children: the order for a sink that checks foreign keys at once. */
  readonly importOrder: readonly RecordKind[];
  /** The same in groups: kinds that refer to each other in a cycle are in one. */
  readonly importGroups: readonly (readonly RecordKind[])[];
  /** By path, e.g. `artifacts.content`. */
  readonly byPath: ReadonlyMap<string, RecordKind>;
  /** The paths that foreign keys refer to, of kinds that have keys. */
  readonly parents: ReadonlySet<string>;
}

/**
 * Builds a catalog; throws where two kinds share a path, a path is not its location's, a foreign key refers to no kind, a key
 * is missing, or what goes with dropped records (onDrop) goes round in a cycle.
 */
export function createCatalog(given: readonly RecordKind[]): Catalog {
  const kinds = bySections(given);
  const byPath = new Map<string, RecordKind>();
  for (const kind of kinds) {
    if (byPath.has(kind.path)) throw new Error(`two record kinds at ${kind.path}`);
    if (locationOf(kind).join(".") !== kind.path) throw new Error(`${kind.path} is not where its location says`);
    if ((kind.key.length === 0) !== (kind.keyless === true))
      throw new Error(`${kind.path} has ${kind.keyless ? "a key, and is keyless" : "no key, and is not keyless"}`);
    if (kind.sqlite.layout === "table" && kind.sqlite.withoutRowid && kind.fields.some(({ large }) => large))
      throw new Error(`${kind.path} has a large field, which a table WITHOUT ROWID cannot have`);
    byPath.set(kind.path, kind);
  }
  for (const kind of kinds)
    if (locationOf(kind).length > 1 && byPath.has(locationOf(kind)[0]))
      throw new Error(`${kind.path} is in ${locationOf(kind)[0]}, which is a record kind's array`);
  const referred = kinds.flatMap(({ foreignKeys }) => foreignKeys.map(({ references }) => references));
  const importGroups = orderByForeignKeys(kinds, byPath);
  return {
    kinds,
    byPath,
    parents: new Set(referred.filter((path) => byPath.get(path)?.keyless !== true)),
    importGroups,
    importOrder: importGroups.flat(),
  };
}

/** Kinds of one section stand together, where its first one does. */
function bySections(kinds: readonly RecordKind[]): RecordKind[] {
  return [...Map.groupBy(kinds, (kind) => locationOf(kind)[0]).values()].flat();
}

/** Where the kind's array stands in the document: its own name, or that of the object that it is in and its own. */
export function locationOf({ location, path }: RecordKind): readonly [string] | readonly [string, string] {
  if (location !== undefined) return location;
  const dot = path.indexOf(".");
  return dot === -1 ? [path] : [path.slice(0, dot), path.slice(dot + 1)];
}

/** Whether a section's name is that of the kind, or of the object that it is in (`vector_embeddings`). */
export function isOfSection(kind: RecordKind, section: string): boolean {
  return kind.path === section || (locationOf(kind).length > 1 && locationOf(kind)[0] === section);
}

/** The schema of the kind's table in PostgreSQL. */
export function schemaOf(kind: RecordKind): string {
  return kind.postgres.schema ?? UNSAID.schema;
}

/** The field that says whose a record is; undefined for a kind whose records are nobody's in particular. */
export function tenantFieldOf(kind: RecordKind): Field | undefined {
  const name = kind.tenantField === undefined ? UNSAID.tenantField : kind.tenantField;
  const field = kind.fields.find((each) => each.name === name);
  if (field === undefined && typeof kind.tenantField === "string")
    throw new Error(`${kind.path} has no field ${kind.tenantField}`);
  return field;
}

/** Its index in `kind.fields`; -1 for none. */
export function tenantIndex(kind: RecordKind): number {
  const field = tenantFieldOf(kind);
  return field === undefined ? -1 : kind.fields.indexOf(field);
}

/** The key, if there is one, and the natural keys, as field names. */
export function uniqueKeysOf({ key, uniqueKeys }: RecordKind): readonly (readonly string[])[] {
  return key.length === 0 ? uniqueKeys : [key, ...uniqueKeys];
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

/** The index of a field that is derived from the content (storage_type) and so never changed; -1 for none. */
export function derivedField(kind: RecordKind): number {
  const name = kind.postgres.largeObject?.typeField;
  return name === undefined ? -1 : kind.fields.findIndex((field) => field.name === name);
}
