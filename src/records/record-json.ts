/** One field of a record as the JSON token that the document has for it, and back. */
import { derivedField, type Field } from "../catalog/index.js";
import type { ByteWriter } from "../codecs/byte-writer.js";
import { codecOf, located, type TokenDialect } from "../codecs/index.js";
import { StorageError } from "../errors.js";
import type { BatchEditor } from "./batch-editor.js";
import { LARGE_VALUE, NULL_VALUE, type RecordBatch } from "./record-batch.js";
import { recordKey } from "./record-key.js";

const DIALECT: TokenDialect = { legacy: false };
const NULL_TOKEN = 0x6e;

/** Whether SQL NULL is the key's absence in the document, not `null`. */
export function absentWhenNull(field: Field): boolean {
  return codecOf(field).hasNull === true && field.nullable === true;
}

/**
 * Appends the token of a field as the document has it. False, and nothing is appended, where the document lacks the key.
 * Not for a field whose value is the batch's LargeValue.
 */
export function writeFieldToken(batch: RecordBatch, row: number, index: number, out: ByteWriter): boolean {
  const field = batch.kind.fields[index] as Field;
  const at = row * batch.width + index;
  const length = batch.lengths[at] as number;
  if (length === LARGE_VALUE) throw new Error("a large value is no token");
  if (length === NULL_VALUE) {
    if (absentWhenNull(field)) return false;
    out.latin1("null");
    return true;
  }
  codecOf(field).toToken(field, batch.bytes, batch.starts[at] as number, length, out);
  return true;
}

/**
 * Appends the canonical bytes of `source[start, end)`: one valid JSON token in valid UTF-8, as a document (not a legacy one)
 * may have it. False, and nothing is appended, when that is SQL NULL. Throws a StorageError without context: E_FIELD_TYPE,
 * E_OUT_OF_RANGE, E_INVALID_UUID, E_DIMENSION_MISMATCH, …
 */
export function readFieldToken(field: Field, source: Buffer, start: number, end: number, out: ByteWriter): boolean {
  if (source[start] === NULL_TOKEN && field.nullable && codecOf(field).hasNull !== true) return false;
  const from = out.length;
  codecOf(field).fromToken(field, source, start, end, out, DIALECT);
  if (field.constant !== undefined) {
    const found = out.bytes.readInt32BE(from);
    if (found !== field.constant)
      throw new StorageError("E_DIMENSION_MISMATCH", `Dimension mismatch: expected ${field.constant}, got ${found}`);
  }
  return true;
}

/**
 * Sets a field of a row that the editor works on (or of a copy of it) from the token `source[start, end)`. Throws as
 * readFieldToken, with section, key (of the record as it came in) and field.
 */
export function setFieldToken(
  editor: BatchEditor,
  { batch, row, to = row }: EditedRow,
  index: number,
  source: Buffer,
  start: number,
  end: number,
): void {
  const field = batch.kind.fields[index] as Field;
  const { arena } = editor;
  const from = arena.length;
  try {
    if (!readFieldToken(field, source, start, end, arena)) editor.setNull(to, index);
    // Only checked: whether the content is a large object is not for a transform to say.
    else if (index === derivedField(batch.kind)) checkDerived(arena.view().toString("utf8", from));
    else editor.set(to, index, from);
  } catch (error) {
    throw located(error, { section: batch.kind.path, key: recordKey(batch, row), field: field.name });
  }
}

/** The field's key was taken away: NULL. E_MISSING_FIELD, located, where the record must have it. */
export function removeField(editor: BatchEditor, { batch, row, to = row }: EditedRow, index: number): void {
  const field = batch.kind.fields[index] as Field;
  if (!field.nullable)
    throw new StorageError("E_MISSING_FIELD", "the record lacks a field that it must have", {
      section: batch.kind.path,
      key: recordKey(batch, row),
      field: field.name,
    });
  editor.setNull(to, index);
}

/** A row of the editor's batch, and the copy of it that is edited (default: the row itself). */
export interface EditedRow {
  readonly batch: RecordBatch;
  readonly row: number;
  readonly to?: number;
}

function checkDerived(text: string): void {
  if (text !== "bytea" && text !== "large_object")
    throw new StorageError("E_FIELD_TYPE", 'expected "bytea" or "large_object", found another string');
}
