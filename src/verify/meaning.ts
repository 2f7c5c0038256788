/**
 * What a value means: two values of a field mean the same exactly when these bytes are equal.
 *
 * json means `(x::jsonb)::text`, which PostgreSQL makes of it: the order of keys, white space, escapes, exponents and the
 * sign of zero do not count, the last of equal keys does, and so does a number's scale (1.10 is not 1.1). See json-meaning.ts.
 *
 * Every other type means its canonical bytes (catalog/types.ts), whose codecs have taken away already what does not count:
 * a timestamp is an instant; a text[] is its elements, NULL told from "NULL"; a vector is its float32 bits, so -0 is not 0,
 * and a NaN (which only SQLite and documents hold) is itself and no other NaN; an id is its UUID, or its text where it is
 * none or where its spelling is data (Field.chosen). Content means its bytes, wherever they are kept.
 */
import { derivedField, type Field, type RecordKind } from "../catalog/index.js";
import { ByteWriter } from "../codecs/byte-writer.js";
import { JsonMeaning } from "./json-meaning.js";
import { mayHaveLongNumber } from "./json-number.js";

/**
 * The meaning of the canonical `source[start, start + length)`; not for NULL, which means itself alone. The result may be a
 * part of `source`, and is valid until the function is called again. E_INVALID_JSON where json is none.
 */
export type MeaningOf = (source: Buffer, start: number, length: number) => Buffer;

/** Memory that one long value made grow beyond this is given back. Bytes. */
const KEPT_BYTES = 1048576;

/** A function of its own for each caller that keeps a result while it asks for another. */
export function createMeaning(field: Field): MeaningOf {
  if (meansItsBytes(field)) return (source, start, length) => source.subarray(start, start + length);
  const json = new JsonMeaning();
  let out = new ByteWriter(4096);
  return (source, start, length) => {
    if (out.bytes.length > KEPT_BYTES) out = new ByteWriter(4096);
    out.length = 0;
    json.write(source, start, length, out);
    return out.view();
  };
}

/** Whether the field's canonical bytes are its meaning: nothing has to be made of them. */
export function meansItsBytes(field: Field): boolean {
  return field.type !== "json";
}

/** Whether json that jsonb printed (RecordBatch.printedByJsonb) means its bytes: all but long numbers are spelled as they mean. */
export function printedMeansItsBytes(source: Buffer, start: number, length: number): boolean {
  return !mayHaveLongNumber(source, start, length);
}

/** Whether the field at `index` says something of the record; not what follows from the rest (storage_type), or from the kind. */
export function isMeant(kind: RecordKind, index: number): boolean {
  return kind.fields[index]?.constant === undefined && index !== derivedField(kind);
}

const JSON_FIELD: Field = { name: "", type: "json" };
const left = createMeaning(JSON_FIELD);
const right = createMeaning(JSON_FIELD);

/**
 * Whether two canonical values, or NULLs (null), of a field mean the same. Equal bytes are not looked into. `printed`: which of
 * them jsonb printed, so that they need not be made over.
 */
export function sameMeaning(
  field: Field,
  a: Buffer | null,
  b: Buffer | null,
  printed: { readonly a: boolean; readonly b: boolean } = NOT_PRINTED,
): boolean {
  if (a === null || b === null) return a === b;
  if (a.equals(b)) return true;
  if (meansItsBytes(field)) return false;
  const [one, other] = [meant(a, printed.a, left), meant(b, printed.b, right)];
  return one.equals(other);
}

const NOT_PRINTED = { a: false, b: false };

function meant(value: Buffer, isPrinted: boolean, meaning: MeaningOf): Buffer {
  return isPrinted && printedMeansItsBytes(value, 0, value.length) ? value : meaning(value, 0, value.length);
}
