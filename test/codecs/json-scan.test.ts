/** The scan of JSON text judges every text as JSON.parse does. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { scanJson } from "../../src/codecs/json/json-scan.js";
import { jsonTextArbitrary } from "../helpers/arbitraries.js";
import { scaled } from "../helpers/scale.js";

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Among other bytes, which are not part of it. */
function scanned(text: string): ReturnType<typeof scanJson> {
  const bytes = Buffer.from(text, "utf8");
  const [before, behind] = [Buffer.from('{"'), Buffer.from('e5"]}0')];
  return scanJson(Buffer.concat([before, bytes, behind]), before.length, before.length + bytes.length);
}

const PIECES = [
  ...[
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\r",
    "\t",
    "\v",
    "\0",
    "\u001f",
    "\u007f",
    "\u2028",
    "\ufeff",
    "é",
    "😀",
  ],
  ...[
    "0",
    "1",
    "-",
    "+",
    ".",
    "e",
    "E",
    "00",
    "-0",
    "1.",
    ".5",
    "1e5",
    "1E+5",
    "1e",
    "true",
    "false",
    "null",
    "tru",
    "nul",
    "True",
    "NaN",
  ],
  ...[
    '""',
    '"a"',
    '"\\u00e9"',
    '"\\ud800"',
    '"\\u12',
    '"\\x"',
    '"\\/"',
    '"\\b\\f\\n\\r\\t\\\\\\""',
    "[]",
    "{}",
    '{"a":',
    "[1,",
    "//",
    "/*",
    "'",
  ],
];

describe("the scan of JSON text", () => {
  it("takes what JSON.parse takes, and nothing else", () => {
    const seed = Number(process.env["SEED"] ?? Date.now() % 2 ** 31);
    const pieces = fc.array(fc.constantFrom(...PIECES), { maxLength: 8 }).map((each) => each.join(""));
    // A valid text with a piece put in, or taken out.
    const changed = fc
      .tuple(jsonTextArbitrary(), fc.nat(), fc.constantFrom(...PIECES, ""), fc.nat({ max: 3 }))
      .map(([text, at, piece, cut]) => {
        const where = at % (text.length + 1);
        return (text.slice(0, where) + piece + text.slice(where + cut)).toWellFormed();
      });
    const counts = { taken: 0, refused: 0 };
    fc.assert(
      fc.property(fc.oneof(pieces, changed, jsonTextArbitrary()), (text) => {
        const result = scanned(text);
        expect(result !== undefined, text).toBe(parses(text));
        if (result === undefined) counts.refused++;
        else counts.taken++;
        // Valid text has raw line breaks between tokens only.
        if (result !== undefined) expect(result === "json with line breaks", text).toBe(/[\n\r]/.test(text));
      }),
      { seed, numRuns: scaled(4000, 100_000) },
    );
    expect(Math.min(counts.taken, counts.refused), `seed ${seed}`).toBeGreaterThan(100);
  });

  it("is not led astray by depth", () => {
    expect(scanned("[".repeat(100_000) + "]".repeat(100_000))).toBe("json");
    expect(scanned('{"a":['.repeat(500) + "]}".repeat(500))).toBe("json");
    expect(scanned(`${"[".repeat(300)}}${"]".repeat(299)}`)).toBeUndefined();
  });
});
