/**
 * Arbitrary records of the whole catalog for property tests, in canonical form. The generators reach the edges on
 * purpose: extreme times, 2^63-1, -0, denormals, NaN payloads, NUL, 4-byte characters, numbers that a double cannot hold.
 */
import fc from "fast-check";
import { type Catalog, type Field, fieldIndex, LARGE_VALUE_BYTES, type RecordKind } from "../../src/catalog/index.js";
import { ByteWriter } from "../../src/codecs/byte-writer.js";
import { codecs } from "../../src/codecs/index.js";
import { BatchBuilder, type RecordBatch } from "../../src/records/record-batch.js";

/** Canonical bytes of each field, in the catalog's order; null is SQL NULL. */
export type CanonicalRecord = readonly (Buffer | null)[];

/** Records by path. */
export type DataSet = ReadonlyMap<string, readonly CanonicalRecord[]>;

export interface ArbitraryOptions {
  /**
   * Only what every backend can hold (PostgreSQL refuses U+0000, escaped lone surrogates in json, and vectors that are not
   * finite), and within CHECK constraints. Default false.
   */
  readonly storable?: boolean;
  /** Also ids that are kept as text, which PostgreSQL has not. Default false. */
  readonly idTexts?: boolean;
}

export const INT64_MAX = 2n ** 63n - 1n;
export const INT64_MIN = -(2n ** 63n);
/** PostgreSQL's range of times, as canonical int64: 4713-11-24 BC to the last microsecond of 294276. */
export const FIRST_TIME = -211813488000000000n;
export const LAST_TIME = 9223371331199999999n;

/** The canonical time of Unix microseconds. */
export function canonicalTime(unixMicroseconds: bigint): bigint {
  return unixMicroseconds - 946684800000000n;
}

export function int64Bytes(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}

export function int32Bytes(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

const time = fc.oneof(
  fc.bigInt({ min: canonicalTime(0n), max: canonicalTime(4102444800000000n) }),
  fc.bigInt({ min: FIRST_TIME, max: LAST_TIME }),
  fc.constantFrom(
    INT64_MAX,
    INT64_MIN,
    FIRST_TIME,
    LAST_TIME,
    0n,
    -1n,
    1n,
    ...[0n, -1n, 1n, -999999n, 9999999999000000n, 9999999999999999n, -9999999999000000n].map(canonicalTime),
    // 0001-01-01 and 9999-12-31T23:59:59.999999, and their neighbours beyond
    ...[-62135596800000000n, -62135596800000001n, 253402300799999999n, 253402300800000000n].map(canonicalTime),
    // Around 2^53 Unix microseconds
    ...[9007199254740991n, 9007199254740992n, 9007199254740993n].map(canonicalTime),
  ),
);

/** A string without lone surrogates. `characters` counts code points. */
function textArbitrary(characters: number, storable: boolean): fc.Arbitrary<string> {
  const short = Math.min(characters, 30);
  const any = fc.oneof(
    fc.string({ unit: "grapheme-ascii", maxLength: short }),
    fc.string({ unit: "binary", maxLength: short }),
    fc.constantFrom("", " ", "a,b", "NULL", '"', "\\", "\\N", "{}", "\r\n\t\b\f", "\u2028\u2029\ufeff", "𝄞é", "  x  "),
    characters <= 255 ? fc.constant("𝄞".repeat(characters)) : fc.constant("é".repeat(100)),
  );
  return any.map((text) => {
    const kept = [...text].slice(0, characters).join("");
    return storable ? kept.replaceAll("\0", "") : kept;
  });
}

/** Valid JSON text on one line, with spellings that JSON.stringify never writes. */
export function jsonTextArbitrary(options: ArbitraryOptions = {}): fc.Arbitrary<string> {
  const unusual = ["1.10", "1e400", "-0", "0.1000000000000000055", "12345678901234567890", "9007199254740993", "1E-7"];
  const escapes = ['"\\/\\b\\f\\n\\r\\t\\"\\\\\\u00E9"', '"\\ud834\\udd1e"', '"é𝄞\u007f"'];
  const unstorable = options.storable ? [] : ['"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"'];
  const key = textArbitrary(20, options.storable ?? false).map((text) => JSON.stringify(text));
  return fc.letrec<{ value: string }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.oneof(
        key,
        fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
        fc.constantFrom("true", "false", "null", "{}", "[]", ...unusual, ...escapes, ...unstorable),
      ),
      fc.array(tie("value"), { maxLength: 4 }).map((parts) => `[${parts.join(", ")}]`),
      fc
        .uniqueArray(fc.tuple(key, tie("value")), { maxLength: 4, selector: ([name]) => name })
        .map((parts) => `{${parts.map(([name, value]) => `${name}: ${value}`).join(",")}}`),
    ),
  })).value;
}

/** Numbers from a small generator, so that a vector of 3072 dimensions costs one number to make and to shrink. */
function vectorArbitrary(dimension: number, storable: boolean): fc.Arbitrary<Buffer> {
  const special = [
    0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x3dcccccd, 0x3f800000,
  ];
  const unstorable = storable ? [] : [0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff];
  const bits = fc.constantFrom(...special, ...unstorable);
  return fc.tuple(fc.nat(), fc.array(fc.tuple(fc.nat(dimension - 1), bits), { maxLength: 6 })).map(([seed, places]) => {
    const bytes = Buffer.alloc(dimension * 4);
    let state = seed | 1;
    for (let i = 0; i < dimension; i++) {
      state = Math.imul(state, 1664525) + 1013904223;
      bytes.writeFloatLE(state / 2147483648, i * 4);
    }
    for (const [place, value] of places) bytes.writeUInt32LE(value, place * 4);
    // Raw bytes that begin with '[' must not be taken for JSON.
    if (seed % 5 === 0) bytes[0] = 0x5b;
    return bytes;
  });
}

function integerArbitrary(field: Field, min: bigint, max: bigint): fc.Arbitrary<bigint> {
  const from = field.min === undefined ? min : BigInt(field.min);
  const to = field.max === undefined ? max : BigInt(field.max);
  const inside = [from, to, 0n, 1n, -1n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) - 1n].filter(
    (n) => n >= from && n <= to,
  );
  return fc.oneof(fc.bigInt({ min: from, max: to }), fc.constantFrom(...inside));
}

/** Canonical bytes of one field; null where it may be SQL NULL. */
export function canonicalArbitrary(field: Field, options: ArbitraryOptions = {}): fc.Arbitrary<Buffer | null> {
  const value = valueArbitrary(field, options.storable ?? false, options.idTexts ?? false);
  return field.nullable ? fc.option(value, { nil: null, freq: 4 }) : value;
}

function valueArbitrary(field: Field, storable: boolean, idTexts: boolean): fc.Arbitrary<Buffer> {
  const utf8 = (text: string) => Buffer.from(text, "utf8");
  if (field.constant !== undefined) return fc.constant(int32Bytes(field.constant));
  if (field.oneOf !== undefined) return fc.constantFrom(...field.oneOf).map(utf8);
  switch (field.type) {
    case "text":
      return textArbitrary(field.maxLength ?? 40, storable).map(utf8);
    case "uuid":
      return fc.oneof(
        { weight: 20, arbitrary: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes)) },
        { weight: 1, arbitrary: fc.constantFrom(Buffer.alloc(16), Buffer.alloc(16, 255)) },
        { weight: idTexts ? 5 : 0, arbitrary: idTextArbitrary(field) },
      );
    case "int4":
      return integerArbitrary(field, -(2n ** 31n), 2n ** 31n - 1n).map((value) => int32Bytes(Number(value)));
    case "int8":
      return integerArbitrary(field, INT64_MIN, INT64_MAX).map(int64Bytes);
    case "bool":
      return fc.boolean().map((value) => Buffer.from([value ? 1 : 0]));
    case "timestamp":
      return time.map(int64Bytes);
    case "json":
      return jsonTextArbitrary({ storable }).map(utf8);
    case "bytes":
      return fc.oneof(
        fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
        fc.constantFrom(Buffer.alloc(0), Buffer.from(Array.from({ length: 256 }, (_, i) => i))),
      );
    case "vector":
      return vectorArbitrary(field.dimension ?? 0, storable);
    case "text_array":
      return fc
        .array(fc.option(textArbitrary(20, storable), { nil: null }), { maxLength: 4 })
        .map((elements) => utf8(JSON.stringify(elements)));
  }
}

/** An id that is kept as text: free text, or, where applications choose it, another spelling of a UUID. */
function idTextArbitrary({ chosen }: Field): fc.Arbitrary<Buffer> {
  const spelled = fc.uuid().chain((uuid) => fc.constantFrom(uuid.toUpperCase(), uuid.replaceAll("-", "")));
  const texts = chosen ? fc.oneof(textArbitrary(40, false), spelled) : textArbitrary(40, false);
  return texts
    .filter((text) =>
      chosen ? !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text) : /[^0-9a-f-]|^.{0,31}$/i.test(text),
    )
    .map((text) => Buffer.concat([Buffer.alloc(17), Buffer.from(text, "utf8")]));
}

/** One record. `storage_type` says what its content's length asks for; time intervals begin before they end. */
export function recordArbitrary(kind: RecordKind, options: ArbitraryOptions = {}): fc.Arbitrary<CanonicalRecord> {
  return fc.tuple(...kind.fields.map((field) => canonicalArbitrary(field, options))).map((record) => {
    const fixed = [...record];
    for (const [start, end] of kind.intervals ?? [])
      orderInterval(fixed, fieldIndex(kind, start), fieldIndex(kind, end));
    const { largeObject } = kind.postgres;
    if (largeObject !== undefined) {
      const length = fixed[fieldIndex(kind, largeObject.field)]?.length ?? 0;
      fixed[fieldIndex(kind, largeObject.typeField)] = Buffer.from(
        length < LARGE_VALUE_BYTES ? "bytea" : "large_object",
      );
    }
    return fixed;
  });
}

function orderInterval(record: (Buffer | null)[], start: number, end: number): void {
  const a = (record[start] as Buffer).readBigInt64BE(0);
  const b = (record[end] as Buffer).readBigInt64BE(0);
  if (a === b) {
    record[start] = int64Bytes(INT64_MIN);
    record[end] = int64Bytes(a === INT64_MIN ? 0n : a);
  } else if (a > b) {
    [record[start], record[end]] = [int64Bytes(b), int64Bytes(a)];
  }
}

function keyText(kind: RecordKind, names: readonly string[], record: CanonicalRecord): string {
  return names.map((name) => (record[fieldIndex(kind, name)] ?? Buffer.alloc(0)).toString("latin1")).join("\u0100");
}

/** A data set of the whole catalog: keys are unique, foreign keys refer to records that are there. */
export function dataSetArbitrary(
  catalog: Catalog,
  options: ArbitraryOptions & { readonly recordsPerKind?: number } = {},
): fc.Arbitrary<DataSet> {
  const { recordsPerKind = 3 } = options;
  const perKind = catalog.kinds.map((kind) => fc.array(recordArbitrary(kind, options), { maxLength: recordsPerKind }));
  return fc.tuple(fc.tuple(...perKind), fc.nat()).map(([generated, choice]) => {
    const data = new Map<string, readonly CanonicalRecord[]>(catalog.kinds.map(({ path }) => [path, []]));
    for (const kind of catalog.importOrder) {
      const records = generated[catalog.kinds.indexOf(kind)] ?? [];
      data.set(
        kind.path,
        distinct(
          kind,
          records.flatMap((record, row) => withParents(catalog, data, kind, record, choice + row)),
        ),
      );
    }
    return data;
  });
}

/** The record with the keys of parents that exist; none when there are no parents for it. */
function withParents(
  catalog: Catalog,
  data: DataSet,
  kind: RecordKind,
  record: CanonicalRecord,
  choice: number,
): CanonicalRecord[] {
  const fixed = [...record];
  let tenant: Buffer | null | undefined;
  for (const foreignKey of kind.foreignKeys) {
    const parentKind = catalog.byPath.get(foreignKey.references) as RecordKind;
    const tenantIndex = fieldIndex(parentKind, "tenant_id");
    const parents = (data.get(parentKind.path) ?? []).filter(
      (parent) => tenant === undefined || parent[tenantIndex]?.equals(tenant ?? Buffer.alloc(0)),
    );
    const parent = parents[choice % Math.max(1, parents.length)];
    if (parent === undefined) return [];
    tenant = parent[tenantIndex];
    for (const [i, name] of foreignKey.fields.entries())
      fixed[fieldIndex(kind, name)] = parent[
        fieldIndex(parentKind, foreignKey.referencedFields[i] as string)
      ] as Buffer;
  }
  return [fixed];
}

function distinct(kind: RecordKind, records: readonly CanonicalRecord[]): CanonicalRecord[] {
  const seen = new Set<string>();
  return records.filter((record) => {
    const keys = [kind.key, ...kind.uniqueKeys].map((names, i) => `${i}\u0100${keyText(kind, names, record)}`);
    if (keys.some((key) => seen.has(key))) return false;
    for (const key of keys) seen.add(key);
    return true;
  });
}

/** One batch of the records. */
export function batchOf(
  kind: RecordKind,
  records: readonly CanonicalRecord[],
  isAssumed: (row: number, field: number) => boolean = () => false,
): RecordBatch {
  const builder = new BatchBuilder(kind);
  for (const [row, record] of records.entries()) {
    builder.begin();
    for (const [index, value] of record.entries()) {
      if (value === null) continue;
      const start = builder.arena.length;
      builder.arena.copy(value, 0, value.length);
      builder.set(index, start);
    }
    for (const index of kind.fields.keys()) if (isAssumed(row, index)) builder.assume(index);
    builder.commit();
  }
  return builder.take();
}

/** The batch's records, copied; a LargeValue is not read (it is an empty value). */
export function recordsOf(batch: RecordBatch): CanonicalRecord[] {
  return Array.from({ length: batch.rows }, (_, row) =>
    batch.kind.fields.map((_field, index) => (batch.isNull(row, index) ? null : Buffer.from(batch.value(row, index)))),
  );
}

/** A field's JSON token in the document; undefined where the key is absent (SQL NULL in a json field). */
export function tokenOf(field: Field, value: Buffer | null): string | undefined {
  if (value === null) return field.type === "json" ? undefined : "null";
  const out = new ByteWriter(64);
  codecs[field.type].toToken(field, value, 0, value.length, out);
  return out.view().toString("utf8");
}

/** The record as JSON tokens by field, in the catalog's order. */
export function recordTokens(kind: RecordKind, record: CanonicalRecord): [name: string, token: string][] {
  return kind.fields.flatMap((field, index): [string, string][] => {
    const token = tokenOf(field, record[index] ?? null);
    return token === undefined ? [] : [[field.name, token]];
  });
}

/** In the document's order: by key, bytes and numbers compared by value. */
export function sortByKey(kind: RecordKind, records: readonly CanonicalRecord[]): CanonicalRecord[] {
  const key = kind.key.map((name) => {
    const index = fieldIndex(kind, name);
    return { index, isNumber: kind.fields[index]?.type === "timestamp" };
  });
  return [...records].sort((a, b) => {
    for (const { index, isNumber } of key) {
      const left = a[index] as Buffer;
      const right = b[index] as Buffer;
      const order = isNumber
        ? Number(left.readBigInt64BE(0) > right.readBigInt64BE(0)) -
          Number(left.readBigInt64BE(0) < right.readBigInt64BE(0))
        : Buffer.compare(left, right);
      if (order !== 0) return order;
    }
    return 0;
  });
}
