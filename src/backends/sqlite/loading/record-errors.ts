/** Errors of SQLite that one record causes: the others go on without it. */
import type { RecordKind } from "../../../catalog/index.js";
import { JSON_MAX_DEPTH, jsonDepth } from "../../../codecs/json-text.js";
import { StorageError } from "../../../errors.js";
import type { RecordBatch } from "../../../records/record-batch.js";
import { fromSqliteError, sqliteCode } from "../errors.js";

function isMalformedJson(error: unknown): boolean {
  return sqliteCode(error) === "SQLITE_ERROR" && /malformed JSON/.test((error as Error).message);
}

export function isRecordError(error: unknown): boolean {
  if (isMalformedJson(error)) return true;
  const code = sqliteCode(error);
  return code !== undefined && /^SQLITE_(CONSTRAINT|TOOBIG|MISMATCH)/.test(code);
}

/** The error of one record, with its field where it is known. */
export function toRecordError(error: unknown, batch: RecordBatch, row: number): StorageError {
  if (!isMalformedJson(error)) {
    const code = sqliteCode(error);
    // The message names the table's columns and no value.
    if (code !== "SQLITE_CONSTRAINT_UNIQUE" && code !== "SQLITE_CONSTRAINT_PRIMARYKEY") return fromSqliteError(error);
    return fromSqliteError(error, {
      detail: (error as Error).message,
      hint: "`llmspell database health` says whether the table keeps keys of its own.",
    });
  }
  const field = deepField(batch.kind, batch, row);
  const message = `the json is nested deeper than SQLite's json_extract indexes take (${JSON_MAX_DEPTH} levels)`;
  return new StorageError("E_TARGET_LIMIT", message, field === undefined ? {} : { field }, error);
}

function deepField(kind: RecordKind, batch: RecordBatch, row: number): string | undefined {
  return kind.fields.find(({ type }, index) => type === "json" && jsonDepth(batch.value(row, index)) > JSON_MAX_DEPTH)
    ?.name;
}

/** Whether json_extract may refuse one of the record's values. */
export function hasDeepJson(batch: RecordBatch, row: number): boolean {
  const { lengths, kind } = batch;
  const base = row * kind.fields.length;
  // A level is two brackets: the length alone settles nearly all.
  if (!kind.fields.some(({ type }, i) => type === "json" && (lengths[base + i] as number) > 2 * JSON_MAX_DEPTH))
    return false;
  return deepField(kind, batch, row) !== undefined;
}
