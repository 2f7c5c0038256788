/** Writes a program's outputs back into the batch: only what is no longer what it was. */
import { type Field, LARGE_VALUE_BYTES } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { BatchEditor } from "../../../records/batch-editor.js";
import { LARGE_VALUE } from "../../../records/record-batch.js";
import { removeField, setFieldToken } from "../../../records/record-json.js";
import { recordKey } from "../../../records/record-key.js";
import { Undecided } from "../compiled/numbers.js";
import { equalValues, JsonObject, printKept, typeOf, type Value } from "../compiled/values.js";
import { type RecordContext, type RecordNames, RecordObject } from "./record-object.js";

/** A value that was written for a record before, in the same batch. */
interface Written {
  readonly value: Value;
  readonly start: number;
  readonly length: number;
}

export class RecordWriter {
  private readonly written = new Map<number, Written>();

  constructor(
    private readonly editor: BatchEditor,
    private readonly context: RecordContext,
  ) {}

  /**
   * Makes row `to` (the record's own, or a copy of it) what `output` is. Throws a located StorageError: E_JQ for what is no
   * object, E_FIELD_TYPE for a field that the section has not or of a wrong type, E_MISSING_FIELD, …
   */
  write(record: RecordObject, output: Value, to: number): void {
    if (output === record) return;
    if (!(output instanceof JsonObject))
      throw this.error(record.row, `the expression gives ${describe(output)} for a record, not an object`);
    if (output instanceof RecordObject && output.context === this.context && output.row === record.row) {
      for (const [name, value] of output.changes ?? []) this.setField(record, name, value, to);
      return;
    }
    for (const name of output.map().keys()) if (!this.names.indexOf.has(name)) this.setField(record, name, null, to);
    for (const { name } of this.names.kind.fields) this.setField(record, name, output.map().get(name), to);
  }

  private get names(): RecordNames {
    return this.context.names;
  }

  private setField(record: RecordObject, name: string, value: Value | undefined, to: number): void {
    const { batch } = this.context;
    const index = this.names.indexOf.get(name);
    if (index === undefined) {
      const { path } = batch.kind;
      const context = { section: path, key: recordKey(batch, record.row), field: name };
      throw new StorageError("E_FIELD_TYPE", `${path} has no field ${name}`, context);
    }
    const before = record.original(name);
    if (value === undefined) {
      if (before !== undefined) removeField(this.editor, { batch, row: record.row, to }, index);
      return;
    }
    if (before !== undefined && isSame(value, before)) return;
    this.set(record.row, index, value, to);
  }

  private set(row: number, index: number, value: Value, to: number): void {
    const { editor } = this;
    const { batch } = this.context;
    const last = this.written.get(index);
    if (last !== undefined && last.value === value) {
      editor.setSlice(to, index, last.start, last.length);
      return;
    }
    const field = batch.kind.fields[index] as Field;
    if (field.large === true) this.checkContent(row, index, value);
    const token = Buffer.from(printKept(value), "utf8");
    const start = editor.arena.length;
    setFieldToken(editor, { batch, row, to }, index, token, 0, token.length);
    const length = editor.arena.length - start;
    if (length > 0) this.written.set(index, { value, start, length });
  }

  /** Whether a content is large decides how it travels: an expression does not make the one of the other. */
  private checkContent(row: number, index: number, value: Value): void {
    const { batch } = this.context;
    const wasLarge = batch.lengths[row * batch.width + index] === LARGE_VALUE;
    const isLarge = typeof value === "string" && value.length >= (LARGE_VALUE_BYTES / 3) * 4;
    if (wasLarge || isLarge) throw this.error(row, "the expression changes a content of 1 MiB or more, or makes one");
  }

  private error(row: number, message: string): StorageError {
    const { batch } = this.context;
    return new StorageError("E_JQ", `jq: ${message}`, { section: batch.kind.path, key: recordKey(batch, row) });
  }
}

function isSame(value: Value, before: Value): boolean {
  if (value === before) return true;
  try {
    return equalValues(value, before);
  } catch (error) {
    if (error instanceof Undecided) return false;
    throw error;
  }
}

function describe(value: Value): string {
  const type = typeOf(value);
  return type === "null" ? "null" : `${type === "array" ? "an" : "a"} ${type}`;
}
