/** PROPERTY_SEED repeats a run, JSON_PAIRS sets the number of pairs. */
import fc from "fast-check";
import pg from "pg";
import { describe, expect, it } from "vitest";
import type { Field } from "../../src/catalog/index.js";
import { createMeaning, printedMeansItsBytes, sameMeaning } from "../../src/verify/meaning.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";
import { scaled } from "../helpers/scale.js";
import { jsonPairs } from "./json-texts.js";

const field: Field = { name: "value", type: "json" };
const meaning = createMeaning(field);

function meaningOf(text: string): string {
  const bytes = Buffer.from(`....${text}....`);
  return meaning(bytes, 4, bytes.length - 8).toString("utf8");
}

function means(one: string, other: string): boolean {
  return sameMeaning(field, Buffer.from(one), Buffer.from(other));
}

/** Whether what jsonb printed is taken for its meaning as it is. */
function meansItsBytes(text: string): boolean {
  const bytes = Buffer.from(`9999${text}9999`);
  return printedMeansItsBytes(bytes, 4, bytes.length - 8);
}

/** A number of more characters than this is not written out. */
const PLAIN_NUMBER = /(?<![\d.])\d[\d.]{40,}/;
describePostgres("the meaning of json", () => {
  it("is what PostgreSQL's jsonb makes of arbitrary texts", async () => {
    const seed = Number(process.env["PROPERTY_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
    const count = Number(process.env["JSON_PAIRS"] ?? scaled(1000, 25000));
    const pairs = fc.sample(jsonPairs, { seed, numRuns: count });
    await using database = await createTestDatabase();
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const tally = { texts: 0, same: 0, different: 0, refused: 0, verbatim: 0, printed: 0 };
    try {
      await client.query(`
        CREATE FUNCTION pg_temp.printed(value text) RETURNS text[] LANGUAGE plpgsql AS $$
        BEGIN RETURN ARRAY[(value::jsonb)::text]; EXCEPTION WHEN others THEN RETURN ARRAY[NULL, SQLSTATE]; END $$`);
      for (let from = 0; from < pairs.length; from += 500) {
        const texts = pairs.slice(from, from + 500).flat();
        const { rows } = await client.query<{ printed: [string | null, string?] }>(
          "SELECT pg_temp.printed(value) AS printed FROM unnest($1::text[]) WITH ORDINALITY AS given(value, place) ORDER BY place",
          [texts],
        );
        const printed = rows.map((row) => row.printed);
        for (const [at, text] of texts.entries()) {
          const [own, code] = printed[at] as [string | null, string?];
          const told = `seed ${seed}: ${JSON.stringify(text)}`;
          tally.texts++;
          if (own === null) {
            // Too large for numeric; an escape that jsonb cannot hold.
            expect(["22003", "22P05", "22P02"], told).toContain(code);
            expect(() => meaningOf(text), told).not.toThrow();
            tally.refused++;
          } else {
            expect(meaningOf(own), told).toBe(meaningOf(text));
            if (!PLAIN_NUMBER.test(own)) {
              expect(meaningOf(text), told).toBe(own);
              tally.verbatim++;
            }
            if (meansItsBytes(own)) {
              expect(meaningOf(own), told).toBe(own);
              tally.printed++;
            }
          }
          if (at % 2 === 0) continue;
          const [other] = printed[at - 1] as [string | null];
          // What stands beside a value that jsonb refuses may be any spelling of it: see below.
          if (own === null || other === null) continue;
          expect(means(texts[at - 1] as string, text), `${told} and ${JSON.stringify(texts[at - 1])}`).toBe(
            own === other,
          );
          tally[own === other ? "same" : "different"]++;
        }
      }
    } finally {
      await client.end();
    }
    console.log(`json: seed ${seed}, ${JSON.stringify(tally)}`);
    expect(tally.same).toBeGreaterThan(count / 10);
    expect(tally.different).toBeGreaterThan(count / 10);
    expect(tally.verbatim).toBeGreaterThan(tally.texts / 2);
    expect(tally.printed).toBeGreaterThan(tally.texts / 2);
    expect(tally.refused).toBeGreaterThan(0);
  });
});

describe("what jsonb printed", () => {
  it("means its bytes unless a number is long, wherever it stands", () => {
    for (let length = 36; length < 48; length++)
      for (let before = 0; before < 100; before++) {
        const number = `-${"1".repeat(length - 3)}.5`;
        const text = `["${"x".repeat(before)}", ${number}, 1]`;
        expect(meansItsBytes(text), text).toBe(length <= 40);
        if (length <= 40 || length > 42) expect(meaningOf(text) === text, text).toBe(length <= 40);
      }
    expect(meansItsBytes("")).toBe(true);
    expect(meansItsBytes("1".repeat(40))).toBe(true);
    expect(meansItsBytes("1".repeat(41))).toBe(false);
  });
});

/** Texts that mean the same in each line, and nothing that any other line means. */
const BEYOND_JSONB = [
  ["1e999999999", "1E+999999999", "10e999999998", "1.0e999999999", "0.001e1000000002", "1e000999999999"],
  ["-1e999999999", "-10e999999998"],
  ["1e-999999999", "0.1e-999999998"],
  ["1.0e-999999999", "10e-1000000000"],
  ["0e-999999999", "-0e-999999999", "0.0e-999999998"],
  ["0e-999999998"],
  ["0", "0e999999999", "-0e99999999999999999999", "0.000e3"],
  ["0.0", "-0.0", "0e-1"],
  ["1e99999999999999999999", "10e99999999999999999998", "0.1e100000000000000000000", "1.00e99999999999999999999"],
  ["1e100000000000000000000", "0.001e100000000000000000003", "1000e99999999999999999997"],
  ["1e-99999999999999999999", "0.1e-99999999999999999998"],
  ["1e-100000000000000000000", "0.1e-99999999999999999999"],
  ["123e131072", "1.23e131074", "123000e131069"],
  [`${"9".repeat(200000)}`, `${"9".repeat(199999)}.9e1`],
  [`${"9".repeat(200000)}0`, `${"9".repeat(200000)}e1`],
  [`0.${"0".repeat(20000)}1`, "1e-20001"],
  [`0.${"0".repeat(20000)}10`, "10e-20002"],
  [String.raw`"\u0000"`, String.raw`"\U0000"`.replace("U", "u")],
  [String.raw`"\\u0000"`],
  ['"0"'],
  [String.raw`"\ud800"`, String.raw`"\uD800"`],
  [String.raw`"\udc00"`],
  [String.raw`"\udc00\ud800"`, String.raw`"\uDC00\uD800"`],
  [String.raw`"\ud83d\ude00"`, '"😀"'],
  ['"\ufffd"', String.raw`"\ufffd"`],
  [
    String.raw`{"\ud800":1,"\ud801":2}`,
    String.raw`{"\uD801":2,"\uD800":1}`,
    String.raw`{"\ud800":3,"\ud801":2,"\ud800":1}`,
  ],
  [String.raw`{"\ud800":2,"\ud801":1}`],
  [String.raw`{"a":"\u0000","b":1}`, String.raw`{"b":1,"a":"\u0000"}`, String.raw`{"a":2,"b":1,"a":"\u0000"}`],
];

describe("the meaning of json that jsonb cannot hold", () => {
  it("is digits and exponent, or code units", () => {
    for (const [at, texts] of BEYOND_JSONB.entries()) {
      for (const text of texts)
        expect(means(text, texts[0] as string), `${text.slice(0, 99)} in line ${at}`).toBe(true);
      for (const others of BEYOND_JSONB.slice(at + 1))
        expect(means(texts[0] as string, others[0] as string), `${texts[0]?.slice(0, 99)} ${others[0]}`).toBe(false);
    }
  });

  it("is not longer than its text allows, and is found where it is deep or wide", () => {
    expect(meaningOf("[1e999999999,-1.50e-999999999]")).toBe("[1e999999999, -150e-1000000001]");
    const exponent = `1${"0".repeat(1000000)}`;
    expect(means(`1e${exponent}`, `0.1e${exponent.slice(0, -1)}1`)).toBe(true);
    expect(means(`1e${exponent}`, `10e${"9".repeat(1000000)}`)).toBe(true);
    const deep = 100000;
    const open = '{"b":1,"a":[';
    const closed = "]}".repeat(deep);
    const meant = meaningOf(open.repeat(deep) + closed);
    expect(meant.startsWith('{"a": [{"a": [')).toBe(true);
    expect(meant.endsWith('}], "b": 1}], "b": 1}')).toBe(true);
    expect(meant).toContain('{"a": [{"a": [], "b": 1}], "b": 1}');
    const keys = Array.from({ length: 100000 }, (_, at) => `"k${(at * 7919) % 100003}":${at}`);
    expect(means(`{${keys.join(",")}}`, `{${keys.toReversed().join(",")}}`)).toBe(true);
    expect(means(`{${keys.join(",")}}`, `{${keys.join(",")},"k0":7}`)).toBe(false);
  });
});

describe("the meaning of other values", () => {
  it("is their bytes", () => {
    const bytes = Buffer.from("7ff8000080000000", "hex");
    for (const type of ["text", "uuid", "int8", "timestamp", "bytes", "vector", "text_array"] as const)
      expect(createMeaning({ name: "value", type })(bytes, 2, 4).toString("hex")).toBe("00008000");
  });

  it("of NULL is NULL alone", () => {
    for (const type of ["text", "json", "text_array"] as const) {
      expect(sameMeaning({ name: "value", type }, null, null)).toBe(true);
      expect(sameMeaning({ name: "value", type }, null, Buffer.from(type === "text" ? "" : "null"))).toBe(false);
    }
  });
});
