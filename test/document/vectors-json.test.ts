/** `--vectors json`: arrays of numbers that give the same float32 back. */
import fc from "fast-check";
import { expect, it } from "vitest";
import type { RecordKind } from "../../src/catalog/index.js";
import { ByteWriter } from "../../src/codecs/byte-writer.js";
import { writeVectorNumbers } from "../../src/codecs/vector-numbers.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { type CanonicalRecord, type DataSet, recordArbitrary } from "../helpers/arbitraries.js";
import { readDocument, writeDocument } from "../helpers/documents.js";

const kinds = catalog.kinds.filter(({ path }) => path.startsWith("vector_embeddings."));
const embeddingOf = (kind: RecordKind): number => kind.fields.findIndex(({ name }) => name === "embedding");

/** Any bits; most are finite. */
function embeddingArbitrary(dimension: number): fc.Arbitrary<Buffer> {
  const word = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }) },
    { weight: 3, arbitrary: fc.float({ min: -1, max: 1, noNaN: true }).map((value) => bitsOf(value)) },
    { weight: 1, arbitrary: fc.constantFrom(0, bitsOf(-0), 1, 0x7f7fffff, 0x00800000, bitsOf(0.1), bitsOf(1e8)) },
  );
  return fc.array(word, { minLength: 16, maxLength: 16 }).map((words) => {
    const bytes = Buffer.alloc(dimension * 4);
    for (let at = 0; at < dimension; at++) bytes.writeInt32LE(finite(words[at % 16] as number), at * 4);
    return bytes;
  });
}

function bitsOf(value: number): number {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes.readInt32LE();
}

/** NaN and infinities have their own test. */
function finite(bits: number): number {
  return (bits & 0x7f800000) === 0x7f800000 ? bits ^ 0x40000000 : bits;
}

function tokenOf(embedding: Buffer): string | undefined {
  const out = new ByteWriter(64);
  return writeVectorNumbers(embedding, 0, embedding.length, out) ? out.view().toString("latin1") : undefined;
}

it("gives every float32 back, bit by bit, through a document", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc
        .constantFrom(...kinds)
        .chain((kind) =>
          fc.tuple(
            fc.constant(kind),
            recordArbitrary(kind),
            embeddingArbitrary(kind.fields[embeddingOf(kind)]?.dimension as number),
          ),
        ),
      async ([kind, record, embedding]) => {
        const changed: CanonicalRecord = record.map((value, index) =>
          index === embeddingOf(kind) ? embedding : value,
        );
        const data: DataSet = new Map([[kind.path, [changed]]]);
        const bytes = await writeDocument(data, { vectors: "json" });
        const [, dimension] = kind.path.split(".") as [string, string];
        const parsed = JSON.parse(bytes.toString("utf8")) as {
          data: { vector_embeddings: Record<string, { embedding: number[] }[]> };
        };
        expect(parsed.data.vector_embeddings[dimension]?.[0]?.embedding).toHaveLength(Number(dimension));
        const { data: read, warnings } = await readDocument(bytes, {});
        expect(warnings).toEqual([]);
        const [found] = read.get(kind.path) as [CanonicalRecord];
        expect(found.map((value) => value?.toString("hex"))).toEqual(changed.map((value) => value?.toString("hex")));
      },
    ),
    { numRuns: 60 },
  );
});

it("writes each number with as few digits as give it back", () => {
  const digitsOf = (text: string): number =>
    text
      .replace(/e.*$/, "")
      .replace(/[-.]/g, "")
      .replace(/^0+|0+$/g, "").length;
  fc.assert(
    fc.property(embeddingArbitrary(16), (embedding) => {
      const texts = (tokenOf(embedding) as string).slice(1, -1).split(",");
      for (const [at, text] of texts.entries()) {
        const value = embedding.readFloatLE(at * 4);
        expect(Object.is(Math.fround(Number(text)), value)).toBe(true);
        let fewest = 1;
        while (Math.fround(Number(value.toPrecision(fewest))) !== value) fewest++;
        expect(digitsOf(text)).toBeLessThanOrEqual(fewest);
      }
    }),
    { numRuns: 500 },
  );
  expect(tokenOf(Buffer.from(Float32Array.of(0.1, -0, 1, 1e-45, 3.4028234663852886e38, 1e-7).buffer))).toBe(
    "[0.1,-0,1,1e-45,3.4028235e+38,1e-7]",
  );
});

it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
  "leaves an embedding with %d base64",
  (odd) => {
    expect(tokenOf(Buffer.from(Float32Array.of(1, odd, 2).buffer))).toBeUndefined();
  },
);
