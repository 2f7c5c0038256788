/** How a record is named in messages and rejects: its key fields as text. */
import { hash } from "node:crypto";
import { type Field, fieldIndex, type RecordKind } from "../catalog/index.js";
import { ByteWriter } from "../codecs/byte-writer.js";
import { codecOf } from "../codecs/index.js";
import { StorageError } from "../errors.js";
import type { RecordBatch } from "./record-batch.js";

/** Longer key values are cut here, so that a message stays one line; a digest of the whole tells them apart. */
const KEY_CHARACTERS = 200;

function valueText(field: Field, value: Buffer): string {
  const token = new ByteWriter(value.length * 6 + 64);
  codecOf(field).toToken(field, value, 0, value.length, token);
  const text = token.view().toString("utf8");
  return shortened(text.startsWith('"') ? text.slice(1, -1) : text);
}

function shortened(text: string): string {
  if (text.length <= KEY_CHARACTERS) return text;
  return `${text.slice(0, KEY_CHARACTERS)}… (SHA-256 ${hash("sha256", text).slice(0, 16)})`;
}

/** What a record without a key is called. */
const NO_KEY = "no key";

/**
 * `tenant_id=acme, session_id=…` from the values at hand; a key field that has none yet is `?`.
 * `valueAt` gives canonical bytes; or, of a value that is not valid, its text; or undefined.
 */
export function describeKey(kind: RecordKind, valueAt: (field: number) => Buffer | string | undefined): string {
  if (kind.key.length === 0) return NO_KEY;
  return kind.key
    .map((name) => {
      const index = fieldIndex(kind, name);
      const value = valueAt(index);
      if (value === undefined) return `${name}=?`;
      const text = typeof value === "string" ? shortened(value) : valueText(kind.fields[index] as Field, value);
      return `${name}=${text}`;
    })
    .join(", ");
}

/** The key of one record of a batch, e.g. `tenant_id=acme, session_id=…`. */
export function recordKey(batch: RecordBatch, row: number): string {
  return describeKey(batch.kind, (field) => (batch.isNull(row, field) ? undefined : batch.value(row, field)));
}

/** E_CONFLICT for a target that has records of a keyless kind: nothing could tell which of them come again. */
export function keylessConflict({ path, noun }: RecordKind): StorageError {
  return new StorageError("E_CONFLICT", `records without a key go into an empty table only, and the target has some`, {
    section: path,
    hint: `Empty the table, or leave ${path} out (--exclude); a ${noun} that is there would be there twice.`,
  });
}
