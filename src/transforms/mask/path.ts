/** What a mask names: SECTION.FIELD, and within a json field keys and `[]`. */
import { type Catalog, type Field, isOfSection, locationOf, type RecordKind } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";

/** A key of an object, or `[]`: every element of an array. */
export type Segment = { readonly key: string } | "[]";

export interface MaskedField {
  readonly kind: RecordKind;
  readonly index: number;
  readonly field: Field;
  /** Within the field's JSON; empty: the field as a whole. */
  readonly within: readonly Segment[];
}

/** `name`, `."any key"`, `[]`; the dot before the first is left out. */
const SEGMENT = /\.([^\s.[\]"=]+)|\.("(?:[^"\\]|\\.)*")|(\[\])/uy;

/**
 * The fields that `path` names: one of each kind that its section stands for and that has the field. The longest section
 * counts. E_USAGE, listing what there is.
 */
export function parseMaskPath(path: string, catalog: Catalog): readonly MaskedField[] {
  const segments = parseSegments(path);
  const names = segments.map((segment) => (segment === "[]" ? "" : segment.key));
  const locations = catalog.kinds.flatMap((kind): (readonly string[])[] => [locationOf(kind), [locationOf(kind)[0]]]);
  const location = locations
    .filter((one) => one.every((part, at) => part === names[at]))
    .sort((left, right) => right.length - left.length)[0];
  if (location === undefined) {
    throw new StorageError("E_USAGE", `--mask ${path}: no section is called so`, {
      hint: `The sections are ${catalog.kinds.map((kind) => kind.path).join(", ")}.`,
    });
  }
  const section = location.join(".");
  const kinds = catalog.kinds.filter((kind) => isOfSection(kind, section));
  const depth = location.length;
  const found = kinds.flatMap((kind) => {
    const index = kind.fields.findIndex(({ name }) => name === names[depth]);
    const field = kind.fields[index];
    return field === undefined ? [] : [{ kind, index, field, within: segments.slice(depth + 1) }];
  });
  if (found.length === 0) {
    const fields = new Set(kinds.flatMap((kind) => kind.fields.map(({ name }) => name)));
    throw new StorageError("E_USAGE", `--mask ${path}: ${section} has no field ${names[depth] ?? "of no name"}`, {
      hint: `The fields are ${[...fields].join(", ")}.`,
    });
  }
  return found;
}

function parseSegments(path: string): Segment[] {
  const text = `.${path}`;
  const segments: Segment[] = [];
  SEGMENT.lastIndex = 0;
  while (SEGMENT.lastIndex < text.length) {
    const at = SEGMENT.lastIndex;
    const match = SEGMENT.exec(text);
    if (match === null) {
      throw new StorageError(
        "E_USAGE",
        `--mask ${path}: expected .name, ."any key" or [] at column ${Math.max(1, at)}`,
      );
    }
    const [, name, quoted] = match;
    if (name !== undefined) segments.push({ key: name });
    else segments.push(quoted === undefined ? "[]" : { key: parseQuoted(path, quoted) });
  }
  return segments;
}

function parseQuoted(path: string, quoted: string): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    throw new StorageError("E_USAGE", `--mask ${path}: ${quoted} is no JSON string`);
  }
}
