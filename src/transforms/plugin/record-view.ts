/** Rows of a batch as the objects that plugins see. */
import type { Field } from "../../catalog/index.js";
import { INFINITY, MINUS_INFINITY, UNIX_EPOCH_MICROSECONDS } from "../../codecs/timestamp.js";
import { idText } from "../../codecs/uuid.js";
import { LARGE_VALUE, NULL_VALUE, type RecordBatch } from "../../records/record-batch.js";
import type { PluginRecord } from "./definition.js";
import { parseJson } from "./json-values.js";

/** The value was not read: it is what it was. */
export const UNREAD = Symbol("unread");

/** The plugin gave the field a value without reading it. */
const REPLACED = Symbol("replaced");

/** What a record was made from. */
export interface Origin {
  readonly batch: RecordBatch;
  readonly row: number;
  readonly record: PluginRecord;
  /** By field: the value that the plugin was given; UNREAD; anything else where it was replaced unread. */
  readonly given: unknown[];
}

export class RecordViews {
  private readonly origins = new WeakMap<object, Origin>();
  private current: RecordBatch | undefined;
  /** Of the batch that is worked on, by row. */
  private rows: Origin[] = [];

  /** `content`: the bytes of the batch's LargeValue, where they are held. */
  view(batch: RecordBatch, row: number, content?: Buffer): PluginRecord {
    if (this.current !== batch) this.rows = [];
    this.current = batch;
    const record: PluginRecord = {};
    const origin: Origin = { batch, row, record, given: new Array(batch.width).fill(UNREAD) };
    for (const [index, field] of batch.kind.fields.entries()) this.define(record, origin, index, field, content);
    this.origins.set(record, origin);
    this.rows[row] = origin;
    return record;
  }

  /** Of a record of the batch that is worked on. */
  originOf(record: object): Origin | undefined {
    const origin = this.origins.get(record);
    return origin?.batch === this.current ? origin : undefined;
  }

  originAt(row: number): Origin | undefined {
    return this.rows[row];
  }

  /** The batch is over: its memory serves for the next. */
  end(): void {
    this.current = undefined;
    this.rows = [];
  }

  private define(record: PluginRecord, origin: Origin, index: number, field: Field, content: Buffer | undefined): void {
    const { batch, row, given } = origin;
    const length = batch.lengths[row * batch.width + index] as number;
    if (length === NULL_VALUE || !isLazy(field)) {
      const value = length === NULL_VALUE ? (field.type === "json" ? undefined : null) : readValue(batch, row, index);
      given[index] = value;
      record[field.name] = value;
      return;
    }
    const define = (value: unknown): void => {
      Object.defineProperty(record, field.name, { value, enumerable: true, configurable: true, writable: true });
    };
    const set = (value: unknown): void => {
      given[index] = REPLACED;
      define(value);
    };
    const get = (): unknown => {
      if (this.current !== batch) throw new Error(`${field.name} can be read only while transform works on the record`);
      if (length === LARGE_VALUE && content === undefined) return LARGE_CONTENT;
      const value = length === LARGE_VALUE ? content : readValue(batch, row, index);
      given[index] = value;
      define(value);
      return value;
    };
    Object.defineProperty(record, field.name, { get, set, enumerable: true, configurable: true });
  }
}

/** Stands for content that is not held, so that `{ ...record }` passes it on; whoever looks into it is told. */
export const LARGE_CONTENT: object = new Proxy(Object.freeze({}), {
  get() {
    throw new Error("content of 1 MiB and more is not held in memory; a plugin that wants it says content: true");
  },
});

/** What is made when it is asked for: parsing and copying it would cost more than all the rest. */
function isLazy({ type }: Field): boolean {
  return type === "json" || type === "vector" || type === "bytes" || type === "text_array";
}

function readValue(batch: RecordBatch, row: number, index: number): unknown {
  const field = batch.kind.fields[index] as Field;
  const bytes = batch.value(row, index);
  switch (field.type) {
    case "text":
      return bytes.toString("utf8");
    case "uuid":
      return idText(bytes, 0, bytes.length);
    case "int4":
      return bytes.readInt32BE(0);
    case "int8": {
      const value = bytes.readBigInt64BE(0);
      return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }
    case "bool":
      return bytes[0] === 1;
    case "timestamp": {
      const value = bytes.readBigInt64BE(0);
      if (value === INFINITY) return "infinity";
      return value === MINUS_INFINITY ? "-infinity" : value + UNIX_EPOCH_MICROSECONDS;
    }
    case "json":
      return parseJson(bytes.toString("utf8"));
    case "text_array":
      return JSON.parse(bytes.toString("utf8"));
    case "bytes":
      return Buffer.from(bytes);
    case "vector":
      return readVector(bytes);
  }
}

function readVector(bytes: Buffer): Float32Array {
  const vector = new Float32Array(bytes.length / 4);
  // Bit for bit: a NaN keeps its payload.
  const words = new Int32Array(vector.buffer);
  for (let at = 0; at < words.length; at++) words[at] = bytes.readInt32LE(at * 4);
  return vector;
}
