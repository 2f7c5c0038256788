import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteWindow } from "../../src/document/reading/byte-window.js";
import type { ByteInput } from "../../src/document/reading/input.js";
import { JsonSyntaxError, MORE } from "../../src/document/reading/json-scanner.js";
import { RecordScanner, TOKEN_WIDTH } from "../../src/document/reading/record-scanner.js";
import { ValueSkipper } from "../../src/document/reading/value-skipper.js";

/** Gives the bytes in pieces of the given sizes, over and over. */
function inputOf(bytes: Buffer, sizes: readonly number[]): ByteInput {
  let at = 0;
  let turn = 0;
  return {
    async read(target, offset) {
      const size = sizes[turn++ % sizes.length] as number;
      const count = bytes.copy(target, offset, at, Math.min(bytes.length, at + size));
      at += count;
      return count;
    },
    async close() {},
  };
}

/** True when the skipper takes the bytes as exactly one JSON value. */
async function accepts(bytes: Buffer, sizes: readonly number[]): Promise<boolean> {
  const window = new ByteWindow(inputOf(bytes, sizes));
  const skipper = new ValueSkipper(window.scanner);
  skipper.start();
  try {
    while (!skipper.done) {
      if (window.final) return false;
      await window.more();
      window.position = skipper.run(window.position);
    }
    for (;;) {
      window.position = window.scanner.skipSpace(window.position);
      if (window.position < window.limit) return false;
      if (window.final) return true;
      await window.more();
    }
  } catch (error) {
    if (error instanceof JsonSyntaxError) return false;
    if (["E_INVALID_UTF8", "E_DOCUMENT_TRUNCATED"].includes(String((error as { code?: string }).code))) return false;
    throw error;
  }
}

function parses(bytes: Buffer): boolean {
  try {
    JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
    return true;
  } catch {
    return false;
  }
}

const piece = fc.integer({ min: 1, max: 9 });
const sizes = fc.array(piece, { minLength: 1, maxLength: 5 });
/** JSON texts with spaces, escapes and unusual numbers, which JSON.stringify alone never writes. */
const jsonText = fc.letrec<{ value: string }>((tie) => {
  const space = fc.constantFrom("", "", "", " ", "\n", "\t\r ");
  const text = fc.oneof(
    fc.string({ unit: "binary" }).map((value) => JSON.stringify(value)),
    fc.constantFrom('"\\u0000\\ud800"', '"\\/\\b\\f\\n\\r\\t\\"\\\\\\uABCd"', '"é𝄞\u007f"', `"${"A".repeat(70)}"`),
  );
  const scalar = fc.oneof(
    text,
    fc.double().map((value) => JSON.stringify(value)),
    fc.constantFrom("0", "-0", "1e5", "-1.50E+400", "12345678901234567890", "0.1e-7", "true", "false", "null"),
  );
  const join = (parts: readonly string[], between: string) => parts.join(between);
  const spaced = fc.tuple(space, tie("value"), space).map(([a, value, b]) => a + value + b);
  return {
    value: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      scalar,
      fc.array(spaced, { maxLength: 4 }).map((parts) => `[${join(parts, ",")}]`),
      fc.array(fc.tuple(text, space, spaced), { maxLength: 4 }).map(
        (parts) =>
          `{${join(
            parts.map(([key, gap, value]) => `${gap}${key}${gap}:${value}`),
            ",",
          )}}`,
      ),
    ),
  };
}).value;

describe("the scanner", () => {
  it("takes every JSON text, however it is cut into reads", async () => {
    await fc.assert(
      fc.asyncProperty(jsonText, sizes, async (text, cuts) => {
        const bytes = Buffer.from(text, "utf8");
        expect(parses(bytes)).toBe(true);
        expect(await accepts(bytes, cuts)).toBe(true);
        expect(await accepts(bytes, [1e9])).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it("refuses what JSON.parse refuses: every truncation", async () => {
    await fc.assert(
      fc.asyncProperty(jsonText, sizes, async (text, cuts) => {
        const bytes = Buffer.from(text, "utf8");
        for (let end = 0; end < Math.min(bytes.length, 100); end++) {
          const part = bytes.subarray(0, end);
          expect({ end, accepted: await accepts(part, cuts) }).toEqual({ end, accepted: parses(part) });
        }
      }),
      { numRuns: 60 },
    );
  });

  it("refuses what JSON.parse refuses: bytes changed, inserted, taken out", async () => {
    const byte = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(...Buffer.from('"\\{}[]:,0-+.eE tu/')));
    await fc.assert(
      fc.asyncProperty(
        jsonText,
        fc.nat(),
        byte,
        fc.constantFrom(0, 1, 2),
        sizes,
        async (text, where, value, how, cuts) => {
          const bytes = Buffer.from(text, "utf8");
          const at = where % (bytes.length + 1);
          const changed = Buffer.concat([
            bytes.subarray(0, at),
            how === 2 ? Buffer.alloc(0) : Buffer.from([value]),
            bytes.subarray(how === 1 ? at : at + 1),
          ]);
          const expected = parses(changed);
          expect(await accepts(changed, cuts)).toBe(expected);
          expect(await accepts(changed, [1e9])).toBe(expected);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("refuses every one-byte change of a small text that JSON.parse refuses", async () => {
    const bytes = Buffer.from('[{"":0},[-1.5e3,"\\u00e9é"],{"a":{}}]', "utf8");
    for (let at = 0; at < bytes.length; at++)
      for (let value = 0; value < 256; value++) {
        const changed = Buffer.from(bytes);
        changed[at] = value;
        expect({ at, value, accepted: await accepts(changed, [1]) }).toEqual({ at, value, accepted: parses(changed) });
      }
  });

  it("takes nesting of a million levels", async () => {
    const deep = Buffer.from("[".repeat(1e6) + "]".repeat(1e6));
    expect(await accepts(deep, [1e9])).toBe(true);
    expect(await accepts(deep.subarray(1), [1e9])).toBe(false);
  });

  it("finds the keys and values of a record, and asks for more until it is whole", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string({ unit: "binary" }), jsonText), { maxLength: 70 }),
        fc.nat(),
        (pairs, cut) => {
          const text = `{${pairs.map(([key, value]) => ` ${JSON.stringify(key)}\n:\t${value} `).join(",")}}`;
          const bytes = Buffer.from(text, "utf8");
          const buffer = Buffer.allocUnsafeSlow(bytes.length + 5);
          bytes.copy(buffer);
          buffer.fill(0x22, bytes.length);
          const window = new ByteWindow(inputOf(bytes, [1e9]));
          const record = new RecordScanner(window.scanner);
          window.scanner.attach(buffer, cut % bytes.length, false);
          if (cut % bytes.length > 0) expect(record.scan(0)).toBe(MORE);
          window.scanner.attach(buffer, bytes.length, false);
          expect(record.scan(0)).toBe(bytes.length);
          const found = Array.from({ length: record.count }, (_, i) => {
            const [keyStart, keyEnd, start, end] = record.tokens.subarray(i * TOKEN_WIDTH, (i + 1) * TOKEN_WIDTH);
            return [JSON.parse(buffer.toString("utf8", keyStart, keyEnd)), buffer.toString("utf8", start, end)];
          });
          expect(found).toEqual(pairs.map(([key, value]) => [key, value.trim()]));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("names line and column, also behind what it has forgotten", async () => {
    for (const [lines, cuts] of [
      [3, [1e9]],
      [3, [1]],
      [200_000, [65536]],
    ] as const) {
      const bytes = Buffer.from(`[${"1,\n".repeat(lines)}  xyz]`);
      const window = new ByteWindow(inputOf(bytes, cuts));
      const skipper = new ValueSkipper(window.scanner);
      skipper.start();
      let error: unknown;
      while (error === undefined) {
        await window.more();
        try {
          window.position = skipper.run(window.position);
        } catch (thrown) {
          error = thrown;
        }
      }
      expect(window.parseError(error as JsonSyntaxError).context.detail).toBe(
        `expected value at line ${lines + 1} column 3`,
      );
    }
  });
});
