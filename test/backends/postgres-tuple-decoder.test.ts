import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CopyDecoder, type TupleDecoder } from "../../src/backends/postgres/reading/tuple-decoder.js";

type Row = readonly (Buffer | null)[];

/** Byte by byte as text: vitest compares large Buffers slowly. */
const comparable = (rows: readonly Row[]): (string | null)[][] =>
  rows.map((row) => row.map((each) => each?.toString("latin1") ?? null));

const value = fc.option(
  fc.oneof(
    fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
    fc.integer({ min: 60_000, max: 70_000 }).map((length) => Buffer.alloc(length, `${length}`)),
  ),
  { freq: 4 },
);
const rowsOf = (columns: number): fc.Arbitrary<Row[]> =>
  fc.array(fc.array(value, { minLength: columns, maxLength: columns }), { maxLength: 12 });

function int16(number: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(number);
  return bytes;
}

function int32(number: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(number);
  return bytes;
}

const field = (bytes: Buffer | null): Buffer[] => (bytes === null ? [int32(-1)] : [int32(bytes.length), bytes]);

function copyData(rows: readonly Row[], extension = Buffer.alloc(0)): Buffer {
  return Buffer.concat([
    Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"),
    int32(0),
    int32(extension.length),
    extension,
    ...rows.flatMap((row) => [int16(row.length), ...row.flatMap(field)]),
    int16(-1),
  ]);
}

function rowAtHand({ bytes, starts, lengths }: TupleDecoder): Row {
  return [...starts].map((start, i) => {
    const length = lengths[i] as number;
    return length === -1 ? null : Buffer.from(bytes.subarray(start, start + length));
  });
}

type Form = "copy" | "rows";

/** Feeds the data in pieces that end at `cuts`, each in memory of its own or all in the same, as a socket's bytes may come. */
function decode(data: Buffer, cuts: readonly number[], columns: number, form: Form = "copy", isOne = false): Row[] {
  const decoder = new CopyDecoder(columns, form);
  const memory = Buffer.alloc(data.length);
  const rows: Row[] = [];
  let from = 0;
  for (const to of [...new Set([...cuts, data.length])].sort((a, b) => a - b)) {
    const piece = data.subarray(from, to);
    if (isOne) {
      decoder.keep();
      memory.fill(0xee);
      decoder.push(memory.subarray(0, piece.copy(memory)));
    } else decoder.push(Buffer.from(piece));
    from = to;
    while (decoder.next()) rows.push(rowAtHand(decoder));
  }
  decoder.end();
  return rows;
}

describe("the decoder of a binary COPY", () => {
  it("gives the rows, wherever the data is cut", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }).chain((columns) => fc.tuple(fc.constant(columns), rowsOf(columns))),
        fc.uint8Array({ maxLength: 40 }),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 }),
        ([columns, rows], extension, places) => {
          const data = copyData(rows, Buffer.from(extension));
          const cuts = places.map((place) => Math.floor(place * data.length));
          expect(comparable(decode(data, cuts, columns))).toEqual(comparable(rows));
          expect(comparable(decode(data, cuts, columns, "copy", true))).toEqual(comparable(rows));
        },
      ),
      { numRuns: 150 },
    );
  });

  it("gives the same byte by byte as at once", () => {
    const rows: Row[] = [
      [Buffer.from("a"), null, Buffer.alloc(0)],
      [null, null, null],
      [Buffer.alloc(3000, 7), Buffer.from([0xff, 0xff]), Buffer.from("PGCOPY")],
    ];
    const data = copyData(rows, Buffer.from("ext"));
    expect(decode(data, [...data.keys()], 3)).toEqual(decode(data, [], 3));
    expect(decode(data, [...data.keys()], 3)).toEqual(rows);
  });

  it("refuses what is cut short, at every byte", () => {
    const data = copyData([[Buffer.from("abc"), null]]);
    for (let end = 0; end < data.length; end++)
      expect(() => decode(data.subarray(0, end), [], 2), `${end} bytes`).toThrow("stopped before its end");
  });

  it("refuses another signature, another width, and what follows the trailer", () => {
    const data = copyData([[Buffer.from("abc"), null]]);
    const foreign = Buffer.from(data);
    foreign[0] = 0x51;
    expect(() => decode(foreign, [], 2)).toThrow("signature");
    expect(() => decode(data, [], 3)).toThrow("2 columns instead of 3");
    expect(() => decode(Buffer.concat([data, Buffer.from("x")]), [], 2)).toThrow("after the trailer");
  });
});

describe("the decoder of rows of a FETCH", () => {
  it("gives the rows, wherever the data is cut, and refuses a cut one at the end", () => {
    fc.assert(
      fc.property(
        rowsOf(3),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 }),
        (rows, places) => {
          const data = Buffer.concat(rows.flatMap((row) => [int16(row.length), ...row.flatMap(field)]));
          const cuts = places.map((place) => Math.floor(place * data.length));
          expect(comparable(decode(data, cuts, 3, "rows"))).toEqual(comparable(rows));
          expect(comparable(decode(data, cuts, 3, "rows", true))).toEqual(comparable(rows));
          if (data.length > 0)
            expect(() => decode(data.subarray(0, -1), cuts, 3, "rows")).toThrow("stopped before its end");
        },
      ),
      { numRuns: 50 },
    );
  });
});
