import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Field, FieldType } from "../../src/catalog/index.js";
import { ByteWriter } from "../../src/codecs/byte-writer.js";
import { codecs, type SqliteValue } from "../../src/codecs/index.js";
import { deriveUuid, formatUuid } from "../../src/codecs/uuid.js";
import type { StorageError } from "../../src/errors.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import {
  canonicalArbitrary,
  canonicalTime,
  INT64_MAX,
  INT64_MIN,
  int32Bytes,
  int64Bytes,
} from "../helpers/arbitraries.js";

const field = (type: FieldType, more: Partial<Field> = {}): Field => ({ name: "f", type, ...more });

/** The bytes that a codec's writer appends, with something before them and garbage around the source. */
function written(write: (source: Buffer, start: number, out: ByteWriter) => void, bytes: Buffer): Buffer {
  const out = new ByteWriter(3);
  out.latin1("##");
  write(Buffer.concat([Buffer.from([0xff, 0x22]), bytes, Buffer.from([0x31, 0x22, 0x3d])]), 2, out);
  expect(out.view().toString("latin1", 0, 2)).toBe("##");
  return Buffer.from(out.view().subarray(2));
}

function fromToken(of: Field, token: string, legacy = false): Buffer {
  const bytes = Buffer.from(token, "utf8");
  return written(
    (source, start, out) => codecs[of.type].fromToken(of, source, start, start + bytes.length, out, { legacy }),
    bytes,
  );
}

function toToken(of: Field, canonical: Buffer): string {
  return written(
    (source, start, out) => codecs[of.type].toToken(of, source, start, canonical.length, out),
    canonical,
  ).toString("utf8");
}

/** The value in PostgreSQL's binary form, with its length before it. */
function toWire(of: Field, canonical: Buffer): Buffer {
  return written((source, start, out) => codecs[of.type].toWire(of, source, start, canonical.length, out), canonical);
}

function fromWire(of: Field, wire: Buffer): Buffer {
  return written((source, start, out) => codecs[of.type].fromWire(of, source, start, wire.length, out), wire);
}

function fromSqlite(of: Field, value: SqliteValue): Buffer {
  return written((_source, _start, out) => codecs[of.type].fromSqlite(of, value, out), Buffer.alloc(0));
}

function toSqlite(of: Field, canonical: Buffer): SqliteValue {
  return codecs[of.type].toSqlite(of, canonical, 0, canonical.length);
}

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    return (error as StorageError).code;
  }
  return undefined;
}

const utf8 = (text: string) => Buffer.from(text, "utf8");
const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");
const zeros = "0".repeat(16);

describe("each type, in its three forms", () => {
  // The forms are written out by hand, so that a codec that is wrong in both directions is found.
  const cases: [what: string, of: Field, canonical: Buffer, token: string, wire: Buffer, sqlite: SqliteValue][] = [
    ["text", field("text"), utf8('é\n"\\\u0001𝄞'), '"é\\n\\"\\\\\\u0001𝄞"', utf8('é\n"\\\u0001𝄞'), 'é\n"\\\u0001𝄞'],
    ["empty text", field("text"), utf8(""), '""', utf8(""), ""],
    [
      "long text",
      field("text"),
      utf8(`${"x".repeat(200)}\t`),
      `"${"x".repeat(200)}\\t"`,
      utf8(`${"x".repeat(200)}\t`),
      `${"x".repeat(200)}\t`,
    ],
    [
      "uuid",
      field("uuid"),
      hex("0123456789abcdef0123456789abcdef"),
      '"01234567-89ab-cdef-0123-456789abcdef"',
      hex("0123456789abcdef0123456789abcdef"),
      "01234567-89ab-cdef-0123-456789abcdef",
    ],
    ["int4 least", field("int4"), hex("80000000"), "-2147483648", hex("80000000"), -2147483648n],
    ["int4 -1", field("int4"), hex("ffffffff"), "-1", hex("ffffffff"), -1n],
    ["int4 10^8", field("int4"), hex("05f5e100"), "100000000", hex("05f5e100"), 100000000n],
    ["int8 most", field("int8"), hex("7fffffffffffffff"), "9223372036854775807", hex("7fffffffffffffff"), INT64_MAX],
    ["int8 least", field("int8"), hex("8000000000000000"), "-9223372036854775808", hex("8000000000000000"), INT64_MIN],
    [
      "int8 2^53 + 1",
      field("int8"),
      hex("0020000000000001"),
      "9007199254740993",
      hex("0020000000000001"),
      9007199254740993n,
    ],
    [
      "int8 -(2^53)",
      field("int8"),
      hex("ffe0000000000000"),
      "-9007199254740992",
      hex("ffe0000000000000"),
      -9007199254740992n,
    ],
    ["int8 0", field("int8"), hex(zeros), "0", hex(zeros), 0n],
    ["true", field("bool"), hex("01"), "true", hex("01"), 1n],
    ["false", field("bool"), hex("00"), "false", hex("00"), 0n],
    ["time 2000", field("timestamp"), hex(zeros), "946684800000000", hex(zeros), 946684800n],
    ["time 1970", field("timestamp"), hex("fffca2fec4c82000"), "0", hex("fffca2fec4c82000"), 0n],
    ["time infinity", field("timestamp"), hex("7fffffffffffffff"), '"infinity"', hex("7fffffffffffffff"), 9999999999n],
    [
      "time -infinity",
      field("timestamp"),
      hex("8000000000000000"),
      '"-infinity"',
      hex("8000000000000000"),
      -9999999999n,
    ],
    ["json", field("json"), utf8('{"a": 1.10}'), '{"a": 1.10}', utf8('\u0001{"a": 1.10}'), '{"a": 1.10}'],
    ["bytes", field("bytes"), hex("00ff10"), '"AP8Q"', hex("00ff10"), hex("00ff10")],
    ["empty bytes", field("bytes"), hex(""), '""', hex(""), hex("")],
    [
      "vector",
      field("vector", { dimension: 2 }),
      hex("0000803f 00000080"),
      '"AACAPwAAAIA="',
      hex("0002 0000 3f800000 80000000"),
      hex("0000803f 00000080"),
    ],
    [
      "text_array",
      field("text_array"),
      utf8('["a,b",null,""]'),
      '["a,b",null,""]',
      hex("00000001 00000001 00000019 00000003 00000001 00000003 612c62 ffffffff 00000000"),
      '["a,b",null,""]',
    ],
    ["empty text_array", field("text_array"), utf8("[]"), "[]", hex("00000000 00000000 00000019"), "[]"],
  ];

  it.each(cases)("%s", (_what, of, canonical, token, wire, sqlite) => {
    const length = Buffer.alloc(4);
    length.writeInt32BE(wire.length);
    expect(toToken(of, canonical)).toBe(token);
    expect(fromToken(of, token)).toEqual(canonical);
    expect(toWire(of, canonical)).toEqual(Buffer.concat([length, wire]));
    expect(fromWire(of, wire)).toEqual(canonical);
    expect(toSqlite(of, canonical)).toEqual(sqlite);
    expect(fromSqlite(of, sqlite)).toEqual(canonical);
  });

  const fields = catalog.kinds.flatMap(({ path, fields: of }) =>
    of.map((one) => [`${path}.${one.name}`, one] as const),
  );
  const distinct = new Map(fields.map(([name, one]) => [JSON.stringify({ ...one, name: "" }), [name, one] as const]));
  it.each([...distinct.values()])("gives back what it was given: %s", (_name, of) => {
    fc.assert(
      fc.property(canonicalArbitrary(of), (canonical) => {
        if (canonical === null) return;
        expect(fromToken(of, toToken(of, canonical)).equals(canonical)).toBe(true);
        if (of.type !== "timestamp") expect(fromSqlite(of, toSqlite(of, canonical)).equals(canonical)).toBe(true);
        let wire: Buffer;
        try {
          wire = toWire(of, canonical);
        } catch (error) {
          expect((error as StorageError).code).toMatch(/^E_(NUL_CHARACTER|LONE_SURROGATE|NOT_FINITE)$/);
          return;
        }
        expect(wire.readInt32BE(0)).toBe(wire.length - 4);
        expect(fromWire(of, wire.subarray(4)).equals(canonical)).toBe(true);
      }),
      { numRuns: of.type === "vector" ? 20 : 100 },
    );
  });
});

describe("document tokens", () => {
  it.each<[of: Field, token: string, canonical: Buffer]>([
    [field("text"), '"\\u00e9\\ud834\\udd1e\\/"', utf8("é𝄞/")],
    [field("text"), `"${"a".repeat(100)}\\n"`, utf8(`${"a".repeat(100)}\n`)],
    [field("uuid"), '"01234567-89AB-CDEF-0123-456789ABCDEF"', hex("0123456789abcdef0123456789abcdef")],
    [field("uuid"), '"0123456789ABCDEF0123456789abcdef"', hex("0123456789abcdef0123456789abcdef")],
    [field("uuid"), '"01234567\\u002d89ab-cdef-0123-456789abcdef"', hex("0123456789abcdef0123456789abcdef")],
    [field("int4"), "1e3", int32Bytes(1000)],
    [field("int4"), "-0", int32Bytes(0)],
    [field("int4"), "12.50e1", int32Bytes(125)],
    // What jq 1.6 makes of integers beyond 2^53.
    [field("int8"), "9.2233720368547758e+18", int64Bytes(9223372036854775800n)],
    [field("int8"), "0.0", int64Bytes(0n)],
    [field("int8"), "9007199254740991", int64Bytes(9007199254740991n)],
    [field("int8"), "-9999999999999999", int64Bytes(-9999999999999999n)],
    [field("timestamp"), "1732271400123456", int64Bytes(canonicalTime(1732271400123456n))],
    [field("timestamp"), "9224318015999999999", int64Bytes(9223371331199999999n)],
    [field("timestamp"), "-9007199254740991", int64Bytes(canonicalTime(-9007199254740991n))],
    [field("timestamp"), "-210866803200000000", int64Bytes(-211813488000000000n)],
    [field("json"), '{\n "a":\r\n [1,\n2]}', utf8('{ "a": [1,2]}')],
    [field("json"), `[${" ".repeat(300)}\n1]`, utf8(`[${" ".repeat(300)}1]`)],
    [field("bytes"), '"AA\\u003d="', hex("00")],
    [field("text_array"), ' ["a" , null\n]'.trim(), utf8('["a",null]')],
    [field("vector", { dimension: 2 }), "[1, -0]", hex("0000803f 00000080")],
    [field("vector", { dimension: 2 }), '"[1,-0.0]"', hex("0000803f 00000080")],
    [field("vector", { dimension: 2 }), `"${Buffer.from("[1,-0]").toString("base64")}"`, hex("0000803f 00000080")],
    // Eight bytes that begin with '[' and are no JSON.
    [field("vector", { dimension: 2 }), `"${Buffer.from("[1,-0]]x").toString("base64")}"`, utf8("[1,-0]]x")],
  ])("%o %s", (of, token, canonical) => {
    expect(fromToken(of, token)).toEqual(canonical);
  });

  it.each<[of: Field, token: string, code: string]>([
    [field("text"), "1", "E_FIELD_TYPE"],
    [field("text"), '"\\udc00"', "E_INVALID_UTF8"],
    [field("uuid"), "5", "E_FIELD_TYPE"],
    [field("int4"), "2147483648", "E_OUT_OF_RANGE"],
    [field("int4"), "1.5", "E_FIELD_TYPE"],
    [field("int4"), "1e-1", "E_FIELD_TYPE"],
    [field("int4"), "true", "E_FIELD_TYPE"],
    [field("int4"), '"1"', "E_FIELD_TYPE"],
    [field("int8"), "9223372036854775808", "E_OUT_OF_RANGE"],
    [field("int8"), "1e999999999999", "E_OUT_OF_RANGE"],
    [field("bool"), "1", "E_FIELD_TYPE"],
    [field("bool"), "null", "E_FIELD_TYPE"],
    [field("timestamp"), '"Infinity"', "E_FIELD_TYPE"],
    [field("timestamp"), "9224318016000000000", "E_OUT_OF_RANGE"],
    [field("timestamp"), "-210866803200000001", "E_OUT_OF_RANGE"],
    [field("timestamp"), "1.5", "E_FIELD_TYPE"],
    [field("bytes"), '"A"', "E_INVALID_BASE64"],
    [field("bytes"), '"A==="', "E_INVALID_BASE64"],
    [field("bytes"), '"===="', "E_INVALID_BASE64"],
    [field("bytes"), '"AA==AA=="', "E_INVALID_BASE64"],
    [field("bytes"), '"AA=A"', "E_INVALID_BASE64"],
    [field("bytes"), '"AAA_"', "E_INVALID_BASE64"],
    [field("bytes"), '"éAA"', "E_INVALID_BASE64"],
    [field("bytes"), `"${"A".repeat(199)}_"`, "E_INVALID_BASE64"],
    [field("bytes"), `"${"A".repeat(100)}=${"A".repeat(99)}"`, "E_INVALID_BASE64"],
    [field("bytes"), `"${"A".repeat(196)}A A="`, "E_INVALID_BASE64"],
    [field("text_array"), '["a",["b"]]', "E_FIELD_TYPE"],
    [field("text_array"), '["\\ud800"]', "E_INVALID_UTF8"],
    [field("text_array"), '{"a":1}', "E_FIELD_TYPE"],
    [field("vector", { dimension: 2 }), "[1]", "E_DIMENSION_MISMATCH"],
    [field("vector", { dimension: 2 }), '[1,"2"]', "E_INVALID_EMBEDDING"],
    [field("vector", { dimension: 2 }), "[1,1e39]", "E_INVALID_EMBEDDING"],
    [field("vector", { dimension: 2 }), '""', "E_INVALID_EMBEDDING"],
    [field("vector", { dimension: 2 }), '"AACAPw=="', "E_DIMENSION_MISMATCH"],
    [field("vector", { dimension: 2 }), '"AAA="', "E_INVALID_EMBEDDING"],
    [field("vector", { dimension: 2 }), '"[1,2,3]"', "E_DIMENSION_MISMATCH"],
  ])("refuses %o %s with %s", (of, token, code) => {
    expect(codeOf(() => fromToken(of, token))).toBe(code);
  });

  it("reads base64 exactly as Node's strict decoder would, whatever the bytes", () => {
    const alphabet = fc.constantFrom(...'ABzy09+/=-_ \n"');
    fc.assert(
      fc.property(fc.array(alphabet, { maxLength: 12 }), fc.boolean(), (characters, long) => {
        const text = (long ? "A".repeat(160) : "") + characters.join("").replaceAll('"', "");
        const valid = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text);
        const token = JSON.stringify(text);
        if (valid) expect(fromToken(field("bytes"), token)).toEqual(Buffer.from(text, "base64"));
        else expect(codeOf(() => fromToken(field("bytes"), token))).toBe("E_INVALID_BASE64");
      }),
      { numRuns: 2000 },
    );
  });

  it("reads and prints every integer exactly", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: INT64_MIN, max: INT64_MAX }), fc.integer({ min: 0, max: 63 }), (value, shift) => {
        const number = value >> BigInt(shift);
        expect(fromToken(field("int8"), number.toString())).toEqual(int64Bytes(number));
        expect(toToken(field("int8"), int64Bytes(number))).toBe(number.toString());
      }),
      { numRuns: 2000 },
    );
  });

  it("reads legacy times as seconds", () => {
    const time = (token: string) => fromToken(field("timestamp"), token, true).readBigInt64BE(0);
    expect(time("1732271400")).toBe(canonicalTime(1732271400000000n));
    expect(time("9999999999")).toBe(INT64_MAX);
    expect(time("9223372036854775807")).toBe(INT64_MAX);
    expect(time("9223372036854776000")).toBe(INT64_MAX);
    expect(codeOf(() => time("1732271400123456"))).toBe("E_OUT_OF_RANGE");
  });
});

describe("PostgreSQL's form", () => {
  it.each<[of: Field, canonical: Buffer, code: string]>([
    [field("text"), utf8("a\0b"), "E_NUL_CHARACTER"],
    [field("text", { maxLength: 3 }), utf8("𝄞𝄞𝄞 "), "E_TOO_LONG"],
    [field("json"), utf8('"\\u0000"'), "E_NUL_CHARACTER"],
    [field("json"), utf8('["\\ud800"]'), "E_LONE_SURROGATE"],
    [field("json"), utf8('["\\udc00\\ud800"]'), "E_LONE_SURROGATE"],
    [field("json"), utf8('["\\ud800x\\udc00"]'), "E_LONE_SURROGATE"],
    [field("json"), utf8('["\\ud800\\n"]'), "E_LONE_SURROGATE"],
    [field("text_array"), utf8('["\\u0000"]'), "E_NUL_CHARACTER"],
    [field("vector", { dimension: 1 }), hex("0000807f"), "E_NOT_FINITE"],
    [field("vector", { dimension: 1 }), hex("0100c0ff"), "E_NOT_FINITE"],
  ])("refuses %o %o with %s", (of, canonical, code) => {
    expect(codeOf(() => toWire(of, canonical))).toBe(code);
  });

  it("takes what only looks alike", () => {
    expect(toWire(field("text", { maxLength: 3 }), utf8("𝄞𝄞𝄞"))).toHaveLength(16);
    for (const json of ['"\\\\u0000"', '"\\ud834\\udd1e"', '"\\\\\\\\ud800"'])
      expect(toWire(field("json"), utf8(json)).subarray(5).toString()).toBe(json);
    expect(toWire(field("vector", { dimension: 1 }), hex("ffff7f7f"))).toHaveLength(12);
  });

  it.each<[of: Field, wire: Buffer, code: string]>([
    [field("json"), utf8("\u0002{}"), "E_FIELD_TYPE"],
    [field("vector", { dimension: 2 }), hex("0001 0000 3f800000"), "E_DIMENSION_MISMATCH"],
    [
      field("text_array"),
      hex("00000002 00000000 00000019 00000001 00000001 00000001 00000001 00000001 61"),
      "E_FIELD_TYPE",
    ],
    [field("text_array"), hex("00000001 00000000 00000019 00000001 00000000 00000001 61"), "E_FIELD_TYPE"],
    [field("uuid"), hex("00"), "E_FIELD_TYPE"],
  ])("is refused when it is not the expected one: %o %o", (of, wire, code) => {
    expect(codeOf(() => fromWire(of, wire))).toBe(code);
  });
});

describe("ids that are no UUIDs, or are spelled otherwise where the spelling is data", () => {
  const generated = field("uuid");
  const chosen = field("uuid", { chosen: true });
  const kept: [of: Field, text: string][] = [
    ...[generated, chosen].flatMap((of): [Field, string][] => [
      [of, ""],
      [of, "doc1"],
      [of, "0123456789abcde"],
      [of, "0123456789abcdef"],
      [of, 'ü"\n\u0000'],
      [of, "01234567-89ab-cdef-0123-456789abcdeg"],
      [of, "01234567-89ab-cdef-0123456789abcdef-"],
      [of, "{01234567-89ab-cdef-0123-456789abcde}"],
    ]),
    [chosen, "0123456789abcdef0123456789abcdef"],
    [chosen, "01234567-89AB-cdef-0123-456789abcdef"],
  ];

  it.each(kept)("%o %j is its text, longer than a UUID, in a document and in SQLite", (of, text) => {
    const canonical = Buffer.concat([Buffer.alloc(17), utf8(text)]);
    const token = JSON.stringify(text);
    expect(fromToken(of, token)).toEqual(canonical);
    expect(fromSqlite(of, text)).toEqual(canonical);
    expect(toToken(of, canonical)).toBe(token);
    expect(codecs.uuid.toSqlite(of, canonical, 0, canonical.length)).toBe(text);
  });

  it("are in PostgreSQL the UUID that they spell, or refused", () => {
    const wire = "0123456789abcdef0123456789abcdef";
    for (const text of ["0123456789abcdef0123456789abcdef", "01234567-89AB-cdef-0123-456789abcdef"])
      expect(toWire(chosen, fromSqlite(chosen, text))).toEqual(hex(`00000010 ${wire}`));
    for (const of of [generated, chosen])
      expect(codeOf(() => toWire(of, fromSqlite(of, "doc1")))).toBe("E_INVALID_UUID");
  });

  it("are 16 bytes in the usual spelling, wherever they come from", () => {
    const text = "01234567-89ab-cdef-0123-456789abcdef";
    for (const of of [generated, chosen])
      expect([fromToken(of, JSON.stringify(text)), fromSqlite(of, text)]).toEqual([
        hex("0123456789abcdef0123456789abcdef"),
        hex("0123456789abcdef0123456789abcdef"),
      ]);
  });
});

describe("SQLite's values", () => {
  it.each<[of: Field, value: SqliteValue, code: string]>([
    [field("text"), 5n, "E_FIELD_TYPE"],
    [field("text"), utf8("x"), "E_FIELD_TYPE"],
    [field("uuid"), 5n, "E_FIELD_TYPE"],
    [field("int4"), 1.5, "E_FIELD_TYPE"],
    [field("int4"), 2n ** 31n, "E_OUT_OF_RANGE"],
    [field("int8"), "5", "E_FIELD_TYPE"],
    [field("bool"), 2n, "E_OUT_OF_RANGE"],
    [field("timestamp"), 1.5, "E_FIELD_TYPE"],
    [field("timestamp"), INT64_MAX, "E_OUT_OF_RANGE"],
    [field("json"), "{a:1}", "E_INVALID_JSON"],
    [field("json"), "", "E_INVALID_JSON"],
    [field("json"), "\ufeff1", "E_INVALID_JSON"],
    [field("json"), '"\ud800"', "E_INVALID_UTF8"],
    [field("bytes"), "x", "E_FIELD_TYPE"],
    [field("text_array"), '{"a":1}', "E_FIELD_TYPE"],
    [field("text_array"), "a,b", "E_INVALID_JSON"],
    [field("vector", { dimension: 2 }), hex(""), "E_INVALID_EMBEDDING"],
    [field("vector", { dimension: 2 }), 1n, "E_FIELD_TYPE"],
  ])("are refused where they are not of the type: %o %o", (of, value, code) => {
    expect(codeOf(() => fromSqlite(of, value))).toBe(code);
  });

  it("lose line breaks between the tokens of json, and nothing else", () => {
    expect(fromSqlite(field("json"), '{\r\n\t"a\\n": [1,\n 2]\n}').toString()).toBe('{\t"a\\n": [1, 2]}');
  });

  it("are embeddings as text, as a BLOB of text, or raw", () => {
    const of = field("vector", { dimension: 2 });
    for (const value of ["[1,-0]", utf8("[1, -0.0]"), hex("0000803f 00000080")])
      expect(fromSqlite(of, value)).toEqual(hex("0000803f 00000080"));
  });
});

describe("derived UUIDs", () => {
  it("are version 5 of the text in a fixed namespace", () => {
    // python3 -c "import uuid; print(uuid.uuid5(uuid.UUID('8c6a2b1e-5d3f-4a7c-9e10-6b5f0d2c4a38'), 'doc1'))"
    expect(formatUuid(deriveUuid("doc1"), 0)).toBe("27ea1ae0-bb0f-594e-9f36-62099526afac");
    expect(formatUuid(deriveUuid("dôc"), 0)).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
  });
});
