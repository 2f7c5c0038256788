/** Rows of a batch as the objects that plugins see. */
import type { Field } from "../../catalog/index.js";
import { codecOf } from "../../codecs/index.js";
import { LARGE_VALUE, NULL_VALUE, type RecordBatch } from "../../records/record-batch.js";
import type { PluginRecord } from "./definition.js";

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
    const { hasNull, lazy } = codecOf(field);
    if (length === NULL_VALUE || lazy !== true) {
      const value = length === NULL_VALUE ? (hasNull ? undefined : null) : readValue(batch, row, index);
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

function readValue({ kind, bytes, starts, lengths, width }: RecordBatch, row: number, index: number): unknown {
  const at = row * width + index;
  return codecOf(kind.fields[index] as Field).toValue(bytes, starts[at] as number, lengths[at] as number);
}
