/** A record as the JSON object that it is in the document, of which only what is asked for is made. */
import type { Field, RecordKind } from "../../../catalog/index.js";
import { ByteWriter } from "../../../codecs/byte-writer.js";
import { codecOf } from "../../../codecs/index.js";
import { writeVectorNumbers } from "../../../codecs/vector-numbers.js";
import { LARGE_VALUE, NULL_VALUE, type RecordBatch } from "../../../records/record-batch.js";
import { writeFieldToken } from "../../../records/record-json.js";
import { parseJsonText } from "../compiled/json-parser.js";
import { JsonObject, printKept, type Value } from "../compiled/values.js";

/** Names of a kind's fields, in the document's order. */
export class RecordNames {
  readonly indexOf: ReadonlyMap<string, number>;
  constructor(readonly kind: RecordKind) {
    this.indexOf = new Map(kind.fields.map(({ name }, index) => [name, index]));
  }
}

/** What the records of one batch have in common. */
export interface RecordContext {
  readonly batch: RecordBatch;
  readonly names: RecordNames;
  readonly vectors: "base64" | "json";
  /** The bytes of the batch's LargeValue, where the program looks at them. */
  readonly content: Buffer | undefined;
}

/** Values of a row that were made; undefined: the record lacks the key. */
type Made = Map<number, Value | undefined>;

export class RecordObject extends JsonObject {
  private constructor(
    readonly context: RecordContext,
    readonly row: number,
    private readonly made: Made,
    /** Members that are no longer those of the row; undefined: deleted. */
    readonly changes: ReadonlyMap<string, Value | undefined> | undefined,
  ) {
    super(undefined);
  }

  static of(context: RecordContext, row: number): RecordObject {
    return new RecordObject(context, row, new Map(), undefined);
  }

  override get(key: string): Value | undefined {
    if (this.changes?.has(key) === true) return this.changes.get(key);
    return this.original(key);
  }

  /** The member as the record came in. */
  original(key: string): Value | undefined {
    const index = this.context.names.indexOf.get(key);
    if (index === undefined) return undefined;
    const { made } = this;
    const known = made.get(index);
    if (known !== undefined || made.has(index)) return known;
    const value = readField(this.context, this.row, index);
    made.set(index, value);
    return value;
  }

  /** JSON text of a member; what was not changed is not parsed for it. */
  textOf(key: string): string | undefined {
    const index = this.context.names.indexOf.get(key);
    if (index === undefined || this.changes?.has(key) === true || this.made.has(index)) {
      const value = this.get(key);
      return value === undefined ? undefined : printKept(value);
    }
    return fieldText(this.context, this.row, index);
  }

  override map(): ReadonlyMap<string, Value> {
    if (this.members === undefined) {
      const members = new Map<string, Value>();
      const add = (key: string): void => {
        const value = this.get(key);
        if (value !== undefined) members.set(key, value);
      };
      for (const { name } of this.context.names.kind.fields) add(name);
      for (const key of this.changes?.keys() ?? []) add(key);
      this.members = members;
    }
    return this.members;
  }

  override with(key: string, value: Value): JsonObject {
    // A key that was deleted comes back at the end: from then on the order is not the record's.
    const isGone = this.changes?.has(key) === true && this.changes.get(key) === undefined;
    if (isGone) return new JsonObject(this.map()).with(key, value);
    return this.changed(new Map(this.changes).set(key, value));
  }

  override without(keys: readonly string[]): JsonObject {
    const gone = keys.filter((key) => this.get(key) !== undefined);
    if (gone.length === 0) return this;
    const changes = new Map(this.changes);
    for (const key of gone) {
      if (this.context.names.indexOf.has(key)) changes.set(key, undefined);
      else changes.delete(key);
    }
    return this.changed(changes);
  }

  changed(changes: ReadonlyMap<string, Value | undefined>): RecordObject {
    return new RecordObject(this.context, this.row, this.made, changes);
  }
}

function readField(context: RecordContext, row: number, index: number): Value | undefined {
  const { batch } = context;
  const at = row * batch.width + index;
  const length = batch.lengths[at] as number;
  const field = batch.kind.fields[index] as Field;
  const codec = codecOf(field);
  if (length === NULL_VALUE) return codec.hasNull ? undefined : null;
  const value = codec.toJson?.(batch.bytes, batch.starts[at] as number, length);
  if (value !== undefined) return value;
  return parseJsonText(fieldText(context, row, index) as string);
}

function fieldText({ batch, vectors, content }: RecordContext, row: number, index: number): string | undefined {
  const at = row * batch.width + index;
  const length = batch.lengths[at] as number;
  const field = batch.kind.fields[index] as Field;
  if (length === LARGE_VALUE) {
    if (content === undefined) throw new Error(`${field.name} was not expected to be read`);
    return `"${content.toString("base64")}"`;
  }
  const out = new ByteWriter(Math.max(64, length * 2));
  const asNumbers = codecOf(field).sqlite === "embedding" && vectors === "json" && length !== NULL_VALUE;
  if (asNumbers && writeVectorNumbers(batch.bytes, batch.starts[at] as number, length, out))
    return out.view().toString("latin1");
  return writeFieldToken(batch, row, index, out) ? out.view().toString("utf8") : undefined;
}
