/** A row that cannot be read, as JSON text for the rejects: each value as it is stored. */
import type { Field } from "../../../catalog/index.js";
import { ByteWriter } from "../../../codecs/byte-writer.js";
import { codecOf } from "../../../codecs/index.js";
import type { SqlValue } from "../table.js";

/** base64 is made in pieces of this many bytes, a multiple of three. */
const PIECE_BYTES = 3 * 262144;

/** The token of a value in the document's form; of a value that has none, as near as JSON comes to it. */
function token(field: Field, value: Exclude<SqlValue, null>): string {
  try {
    const canonical = new ByteWriter(1024);
    codecOf(field).fromSqlite(field, value, canonical);
    const out = new ByteWriter(1024);
    codecOf(field).toToken(field, canonical.bytes, 0, canonical.length, out);
    return out.view().toString("utf8");
  } catch {
    if (typeof value === "bigint") return value.toString();
    return JSON.stringify(Buffer.isBuffer(value) ? value.toString("base64") : value);
  }
}

/** `{"field":value,…}` in pieces; json fields that are NULL are left out where NULL is the key's absence. */
export function* rawRecord(fields: Iterable<readonly [Field, SqlValue]>): Generator<Uint8Array> {
  let separator = "{";
  for (const [field, value] of fields) {
    if (value === null && codecOf(field).hasNull) continue;
    const name = `${separator}${JSON.stringify(field.name)}:`;
    separator = ",";
    if (!Buffer.isBuffer(value) || value.length <= PIECE_BYTES) {
      yield Buffer.from(name + (value === null ? "null" : token(field, value)), "utf8");
      continue;
    }
    yield Buffer.from(`${name}"`, "utf8");
    for (let at = 0; at < value.length; at += PIECE_BYTES)
      yield Buffer.from(value.toString("base64", at, Math.min(value.length, at + PIECE_BYTES)), "latin1");
    yield Buffer.from('"', "latin1");
  }
  yield Buffer.from(separator === "{" ? "{}" : "}", "latin1");
}
