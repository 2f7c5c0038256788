/** Documents that are small and unpack to what no memory holds: refused by what stands in them, not by their ratio. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, expect, it } from "vitest";
import { importStore, StorageError } from "../../src/index.js";

const HEAD = '"version":"1.0","source_backend":"sqlite","producer":"x","migrations":["V1"],"data":{';
const LETTERS = "a".repeat(262144);
const CHUNKS = 400;
let folder: string;
let names = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "llmspell-limits-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const target = (): string => join(folder, `${++names}.db`);

function* repeated(before: string, chunk: string, after: string): Generator<string, void, undefined> {
  yield before;
  for (let at = 0; at < CHUNKS; at++) yield chunk;
  yield after;
}

it.each([
  ["a key of the document", '{"', LETTERS, `":1,${HEAD}}}`],
  ["a section", `{${HEAD}"`, LETTERS, '":[]}}'],
  ["a dimension", `{${HEAD}"vector_embeddings":{"`, LETTERS, '":[]}}}'],
  ["a section's key", `{${HEAD}"new":{"`, LETTERS, '":[]}}}'],
  ["a record's key", `{${HEAD}"kv_store":[{"`, LETTERS, '":1}]}}'],
  ["producer", '{"producer":"', LETTERS, `",${HEAD.replace('"producer":"x",', "")}}}`],
  ["migrations", '{"migrations":[""', ',"V1"'.repeat(50000), `],${HEAD.replace('"migrations":["V1"],', "")}}}`],
  ["the manifest", `{${HEAD}},"manifest":{"x":"`, LETTERS, '"}}'],
  ["nesting", `{${HEAD}"new":`, "[".repeat(262144), ""],
  ["nesting in a record", `{${HEAD}"kv_store":[{"metadata":`, '{"":'.repeat(65536), ""],
])("%s", async (_what, before, chunk, after) => {
  let read = 0;
  const from = Readable.from(
    (function* () {
      for (const text of repeated(before, chunk, after)) {
        read += text.length;
        yield Buffer.from(text);
      }
    })(),
  );
  const error = await importStore({ from, to: target() }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(StorageError);
  expect((error as StorageError).code).toBe("E_DOCUMENT_LIMIT");
  expect((error as StorageError).message.length).toBeLessThan(200);
  // No more than what any record may have is held before it is refused.
  expect(read).toBeLessThan(16 * 2 ** 20);
});

it.each([
  ["sections", (at: number) => `"s${at}":[]`, `{${HEAD}`, "}}"],
  ["dimensions", (at: number) => `"${at}":[]`, `{${HEAD}"vector_embeddings":{`, "}}}"],
  ["keys of a record", (at: number) => `"f${at}":1`, `{${HEAD}"sessions":[{`, "}]}}"],
])("a hundred thousand %s are refused", async (_what, name, before, after) => {
  const all = Array.from({ length: 100000 }, (_, at) => name(at)).join(",");
  const from = Readable.from([Buffer.from(before + all + after)]);
  const error = await importStore({ from, to: target() }).catch((reason: unknown) => reason);
  expect((error as StorageError).code).toBe("E_DOCUMENT_LIMIT");
});

it("unknown keys, sections and fields are told by name up to twenty, and then counted", async () => {
  const sections = Array.from({ length: 300 }, (_, at) => `"s${at}":[]`).join(",");
  const fields = Array.from({ length: 200 }, (_, at) => `"f${at}":1`).join(",");
  const record = `{"kv_id":"22222220-1111-4111-8111-111111111111","tenant_id":"a","key":"k","value":"","metadata":null,
    "created_at":1,"updated_at":1,${fields}}`;
  const path = join(folder, "unknown.json");
  const long = "x".repeat(4000);
  writeFileSync(path, `{"${long}":1,${HEAD}${sections},"kv_store":[${record}]}}`);
  const warnings: string[] = [];
  await importStore({ from: path, to: target(), onWarning: (message) => void warnings.push(message) });
  const unknown = warnings.filter((message) => message.includes("not known"));
  expect(unknown).toHaveLength(21);
  expect(unknown[0]).toContain(`${"x".repeat(100)}…`);
  expect(unknown.at(-1)).toBe("and 481 more that are not known and were ignored");
  for (const message of warnings) expect(message.length).toBeLessThan(300);
});

it("blanks before the header take no room, in a file; and a backup that compresses a thousandfold is none of them", async () => {
  const path = join(folder, "blanks.json.zst");
  const value = Buffer.alloc(3_000_000).toString("base64");
  const record = `{"kv_id":"22222220-1111-4111-8111-111111111111","tenant_id":"a","key":"k","value":"${value}","metadata":null,
    "created_at":1,"updated_at":1}`;
  writeFileSync(path, zstdCompressSync(Buffer.from(`${" ".repeat(8 * 2 ** 20)}{${HEAD}"kv_store":[${record}]}}`)));
  const temporary = process.env["TMPDIR"];
  // Where no temporary file can be made.
  process.env["TMPDIR"] = join(folder, "missing");
  try {
    const { totals } = await importStore({ from: path, to: target() });
    expect(totals.inserted).toBe(1);
  } finally {
    if (temporary === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = temporary;
  }
});
