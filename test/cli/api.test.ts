/** exportStore and importStore as a program uses them. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  exportStore,
  importStore,
  type Rejection,
  type Sink,
  type Source,
  StorageError,
  type Transform,
} from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { fillSqlite } from "../helpers/sample-data.js";

const RECORDS = 6;
let folder: string;
let source: string;
let names = 0;
const fresh = (suffix: string): string => join(folder, `${++names}${suffix}`);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "llmspell-api-"));
  source = join(folder, "source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: RECORDS, contentSizes: [0, 2_000_000] });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function codeOf(run: Promise<unknown>): Promise<string> {
  const error = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StorageError);
  return (error as StorageError).code;
}

describe("exportStore and importStore", () => {
  it("go through a stream, and print nothing", async () => {
    const write = vi.spyOn(process.stdout, "write");
    const writeError = vi.spyOn(process.stderr, "write");
    const stream = new PassThrough();
    const target = fresh(".db");
    const [exported, document] = await Promise.all([exportStore({ from: source, to: stream }), buffer(stream)]);
    const imported = await importStore({ from: Readable.from([document]), to: target });
    expect([write.mock.calls, writeError.mock.calls]).toEqual([[], []]);
    vi.restoreAllMocks();
    expect(exported).toMatchObject({ source: `sqlite:${source}`, bytes: document.length, dryRun: false });
    expect(exported.totals).toEqual({
      read: 90,
      inserted: 90,
      updated: 0,
      unchanged: 0,
      skipped: 0,
      dropped: 0,
      rejected: 0,
      cascaded: 0,
      valueBytes: expect.any(Number),
    });
    expect(imported.totals).toEqual(exported.totals);
    expect(imported.kinds.map(({ path }) => path)).toEqual(exported.kinds.map(({ path }) => path));
    expect(imported.header).toEqual(exported.header);
  });

  it("tell the estimate first and then the progress, which ends with the whole", async () => {
    const events: [string, number][] = [];
    const result = await exportStore({
      from: source,
      to: fresh(".json"),
      include: ["sessions", "artifacts"],
      onStart: (header, estimate) => {
        expect(header.backend).toBe("sqlite");
        events.push(["start", estimate?.get("sessions") ?? -1]);
      },
      onProgress: ({ phase, path, records }) => {
        if (phase === "rows") events.push([path, records]);
      },
    });
    expect(events[0]).toEqual(["start", RECORDS]);
    expect(events.at(-1)).toEqual(["artifacts.artifacts", 3 * RECORDS]);
    expect(result.totals.read).toBe(3 * RECORDS);
  });

  it("take sources, transforms and sinks of one's own", async () => {
    const calls: string[] = [];
    const sink: Sink = {
      name: "mine",
      async open({ migrations }) {
        calls.push(`open ${migrations[0]}`);
      },
      async write(batch) {
        calls.push(`${batch.kind.path} ${batch.rows}`);
      },
      async finish() {
        calls.push("finish");
        return { counts: new Map(), notes: ["done"] };
      },
      async abort() {
        calls.push("abort");
      },
    };
    const nothing: Transform = {
      name: "only kv_store",
      async *apply(batches) {
        for await (const batch of batches) if (batch.kind.path === "kv_store") yield batch;
      },
    };
    const result = await importStore({
      from: source,
      to: sink,
      include: ["kv_store", "sessions"],
      transforms: [nothing],
    });
    expect(calls).toEqual(["open V1", `kv_store ${RECORDS}`, "finish", "abort"]);
    expect(result).toMatchObject({ target: "mine", notes: ["done"], totals: { read: RECORDS, inserted: 0 } });

    const empty: Source = {
      name: "empty",
      open: async () => ({ backend: "postgresql", migrations: ["V1"] }),
      estimate: async () => undefined,
      async *read() {
        yield* [];
      },
      close: async () => {},
    };
    const output = fresh(".json");
    expect((await exportStore({ from: empty, to: output })).header.backend).toBe("postgresql");
    expect(existsSync(output)).toBe(true);
  });

  it("go on without bad records when told what to do with them, and stop at the first otherwise", async () => {
    const bad = fresh(".db");
    await importStore({ from: source, to: bad });
    const database = new Database(bad);
    database.exec("UPDATE kv_store SET updated_at = 'soon' WHERE rowid <= 2");
    database.close();
    expect(await codeOf(exportStore({ from: bad, to: fresh(".json") }))).toBe("E_FIELD_TYPE");
    const rejections: Rejection[] = [];
    const result = await exportStore({
      from: bad,
      to: fresh(".json"),
      onReject: (rejection) => {
        rejections.push(rejection);
      },
    });
    expect(result.totals).toMatchObject({ read: 88, rejected: 2 });
    expect(rejections.map(({ kind, error }) => [kind.path, error.context.field])).toEqual([
      ["kv_store", "updated_at"],
      ["kv_store", "updated_at"],
    ]);
  });

  it("undo everything when aborted, with the reason given", async () => {
    const target = fresh(".db");
    const controller = new AbortController();
    const aborted = importStore({
      from: source,
      to: target,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    expect(await codeOf(aborted)).toBe("E_INTERRUPTED");
    expect(existsSync(target)).toBe(false);
    const reason = new StorageError("E_TERMINATED", "enough");
    await expect(exportStore({ from: source, to: fresh(".json"), signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
  });

  it.each([
    ["E_USAGE", () => exportStore({ from: source, to: fresh(".db") })],
    ["E_USAGE", () => importStore({ from: source, to: source })],
    ["E_USAGE", () => importStore({ from: source, to: fresh(".json") })],
    ["E_USAGE", () => exportStore({ from: "what is this", to: fresh(".json") })],
    ["E_USAGE", () => exportStore({ from: source, to: fresh(".json"), exclude: ["no_section"] })],
    ["E_STORE_NOT_FOUND", () => exportStore({ from: fresh(".db"), to: fresh(".json") })],
    ["E_INPUT_NOT_FOUND", () => importStore({ from: fresh(".json"), to: fresh(".db") })],
  ])("reject with %s", async (code, run) => {
    expect(await codeOf(run())).toBe(code);
  });
});
