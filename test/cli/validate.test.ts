/** `storage validate` and validateDocument: what is found, where, and in which forms it is said. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DocumentFinding as Finding, type StorageError, validateDocument } from "../../src/index.js";
import * as records from "../fidelity/records.js";
import { documentText } from "../fidelity/support.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
});
afterAll(() => workspace[Symbol.dispose]());

const HEAD = '{"version":"1.0","source_backend":"sqlite","producer":"t","migrations":["V1"],"data":{';
const kv = (n: number, more: object = {}): string =>
  JSON.stringify({
    kv_id: `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`,
    ...{ tenant_id: "t", key: `k${n}`, value: "", created_at: 0, updated_at: 0 },
    ...more,
  });

async function found(text: string | Buffer, backend?: "postgres" | "sqlite"): Promise<Finding[]> {
  const findings: Finding[] = [];
  await validateDocument(Readable.from([Buffer.from(text)]), {
    ...(backend === undefined ? {} : { for: backend }),
    onFinding: (finding) => void findings.push(finding),
  });
  return findings;
}
const places = (findings: readonly Finding[]): unknown[] => findings.map(({ line, code }) => [line, code]);

describe("what is found", () => {
  it("has the line where its record begins, however the document is printed", async () => {
    const rows = [
      kv(1),
      kv(2, { value: "=" }),
      kv(3, { key: "a\0b" }),
      kv(4, { updated_at: "x" }),
      kv(2, { key: "k9" }),
    ];
    const oneLine = `${HEAD}"kv_store":[${rows.join(",")}]}}`;
    const perLine = `${HEAD}\n\n"kv_store":[\n${rows.join(",\n")}]}}`;
    const pretty = JSON.stringify(JSON.parse(oneLine), null, 2);
    const expected = (lines: readonly number[]): unknown[] => [
      [lines[0], "E_INVALID_BASE64"],
      [lines[2], "E_FIELD_TYPE"],
      [lines[1], "E_NUL_CHARACTER"],
    ];
    expect(places(await found(oneLine, "postgres"))).toEqual(expected([1, 1, 1]));
    expect(places(await found(perLine, "postgres"))).toEqual(expected([5, 6, 7]));
    expect(places(await found(perLine.replaceAll("\n", "\r\n"), "postgres"))).toEqual(expected([5, 6, 7]));
    const lineOf = (n: number): number => pretty.slice(0, pretty.indexOf(`"k${n}"`)).split("\n").length - 3;
    const lines = [lineOf(2), pretty.slice(0, pretty.indexOf("a\\u0000b")).split("\n").length - 3, lineOf(4)];
    expect(places(await found(pretty, "postgres"))).toEqual(expected(lines));
  });

  it("is exact behind large contents, many lines and batches", async () => {
    const rows = Array.from({ length: 9000 }, (_, n) => kv(n, { metadata: { n } }));
    rows[8500] = kv(8500, { value: "=" });
    const content = {
      ...records.content("a", Buffer.alloc(3_000_000, 7)),
      data: Buffer.alloc(3_000_000, 7).toString("base64"),
    };
    const contents = `"artifacts":{"content":[\n${JSON.stringify(content)}\n],\n"artifacts":[]},\n`;
    const text = `${HEAD}\n${contents}"kv_store":[\n${rows.join(",\n")}\n]}}`;
    // A record may be one line, and its json several.
    const folded = text.replaceAll('"metadata":{', '"metadata":{\n\n');
    for (const one of [text, folded])
      expect(places(await found(one))).toEqual([
        [one.slice(0, one.indexOf('"value":"="')).split("\n").length, "E_INVALID_BASE64"],
      ]);
  });

  it("is every key that occurs twice, unique keys too, in order and out of it, and which record had it first", async () => {
    const rows = [kv(1), kv(2), kv(2, { key: "x" }), kv(3, { key: "k1" }), kv(4), kv(2, { key: "y" })];
    const findings = await found(`${HEAD}"kv_store":[\n${rows.join(",\n")}]}}`);
    expect(places(findings)).toEqual([
      [4, "E_KEY_CONFLICT"],
      [5, "E_KEY_CONFLICT"],
      [7, "E_KEY_CONFLICT"],
    ]);
    expect(findings[0]?.detail).toContain("kv_id=00000000-0000-4000-8000-000000000002");
    const descending = [...rows].reverse();
    expect(await found(`${HEAD}"kv_store":[\n${descending.join(",\n")}]}}`)).toHaveLength(3);
  });

  it("is a UUID twice in two spellings, where the backend knows UUIDs only", async () => {
    const upper = (text: string): string =>
      text.replace(/"session_id":"[^"]*"/, (id) => id.toUpperCase().replace("SESSION_ID", "session_id"));
    const session = JSON.stringify(records.session(5, { session_id: "abcdef00-0000-4000-8000-00000000000a" }));
    const text = `${HEAD}"sessions":[${session},${upper(session)}]}}`;
    expect(await found(text, "sqlite")).toEqual([]);
    expect((await found(text, "postgres")).map(({ code }) => code)).toEqual(["E_KEY_CONFLICT"]);
  });

  it("is every orphan, whatever the order of the sections, and the child of a bad parent", async () => {
    const artifact = (session: number) => records.artifact(session, session, "h");
    const data = {
      "artifacts.artifacts": [artifact(1), artifact(7), artifact(2)],
      "artifacts.content": [records.content("h", Buffer.from("abc"))],
      sessions: [records.session(1), records.session(2, { status: "gone" })],
    };
    expect((await found(documentText(data))).map(({ code, section }) => [section, code])).toEqual([
      ["sessions", "E_CHECK"],
      ["artifacts.artifacts", "E_ORPHAN"],
      ["artifacts.artifacts", "E_PARENT_REJECTED"],
    ]);
  });

  it("is what the manifest says otherwise, of every section, and where the document cannot be read on, as the last", async () => {
    await workspace.must(["storage", "import", "--database", "m.db", "--input", golden()]);
    await workspace.must(["storage", "export", "--database", "m.db", "--output", "m.json"]);
    const text = readFileSync(workspace.path("m.json"), "utf8");
    const changed = text.replace('"status":"active"', '"status":"archived"').replace('"frequency":', '"frequency": ');
    expect((await found(changed)).map(({ code, section }) => [section, code])).toEqual([
      ["procedural_memory", "E_DOCUMENT_MANIFEST"],
      ["sessions", "E_DOCUMENT_MANIFEST"],
    ]);
    const cut = await found(`${HEAD}"kv_store":[\n${kv(1, { value: "=" })},\n${kv(1)},\n{"kv_id`);
    expect(places(cut)).toEqual([
      [2, "E_INVALID_BASE64"],
      [4, "E_DOCUMENT_TRUNCATED"],
    ]);
  });
});

function golden(): string {
  const path = workspace.path("golden.json");
  writeFileSync(path, readFileSync(new URL("../golden/document-1.0.json", import.meta.url)));
  return path;
}

describe("storage validate", () => {
  it("exits with 0 or 4, counts by section and code, and writes all with --findings", async () => {
    const text = `${HEAD}"kv_store":[\n${[kv(1), kv(2, { value: "=" }), kv(3, { value: "=" }), kv(1)].join(",\n")}]}}`;
    writeFileSync(workspace.path("bad.json.gz"), gzipSync(text));
    const { status, stdout, stderr } = await workspace.run([
      "storage",
      "validate",
      "bad.json.gz",
      "--findings",
      "f.ndjson",
    ]);
    expect(status).toBe(4);
    expect(stdout).toContain("❌ 3 findings: 4 records in 1 section\n");
    expect(stdout).toContain("kv_store [E_INVALID_BASE64]: 2\n      first: line 3, record kv_id=");
    expect(stderr).toContain("[E_DOCUMENT_INVALID]");
    const lines = readFileSync(workspace.path("f.ndjson"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map(({ line, code, section }) => [line, code, section])).toEqual([
      [3, "E_INVALID_BASE64", "kv_store"],
      [4, "E_INVALID_BASE64", "kv_store"],
      [5, "E_KEY_CONFLICT", "kv_store"],
    ]);
    const good = `${HEAD}"kv_store":[${kv(1)}]}}`;
    const piped = await workspace.must(["storage", "validate", "-", "--for", "sqlite", "--json"], {
      stdin: zstdCompressSync(good),
    });
    expect(JSON.parse(piped.stdout)).toMatchObject({
      findings: 0,
      records: 1,
      for: "sqlite",
      complete: true,
      groups: [],
    });
    const json = await workspace.run(["storage", "validate", "bad.json.gz", "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      findings: 3,
      groups: [
        { section: "kv_store", code: "E_INVALID_BASE64", count: 2, first: { line: 3, field: "value" } },
        { count: 1 },
      ],
      error: { code: "E_DOCUMENT_INVALID", exitStatus: 4 },
    });
  });

  it("shows no value but keys, and overwrites nothing with its findings", async () => {
    const text = `${HEAD}"kv_store":[${kv(1, { metadata: "secret\0value" })}]}}`;
    writeFileSync(workspace.path("secret.json"), text);
    const { stdout, stderr } = await workspace.run([
      "storage",
      "validate",
      "secret.json",
      "--for",
      "postgres",
      "--findings",
      "s.ndjson",
    ]);
    expect(stdout + stderr + readFileSync(workspace.path("s.ndjson"), "utf8")).not.toContain("secret\\u0000");
    for (const file of ["secret.json", "bad.json.gz"]) {
      const { status } = await workspace.run(["storage", "validate", "secret.json", "--findings", file]);
      expect([file, status]).toEqual([file, 2]);
    }
    expect(readFileSync(workspace.path("secret.json"), "utf8")).toBe(text);
  });

  it("says what is no fault of the document as other commands do", async () => {
    const missing = await workspace.run(["storage", "validate", "missing.json"]);
    expect([missing.status, missing.stderr]).toEqual([2, expect.stringContaining("E_INPUT_NOT_FOUND")]);
    const backend = await workspace.run(["storage", "validate", "bad.json.gz", "--for", "mysql"]);
    expect(backend.status).toBe(2);
    const codeOf = (run: Promise<unknown>): Promise<string> =>
      run.then(
        () => "done",
        (error: StorageError) => error.code,
      );
    expect(await codeOf(validateDocument("x.json", { fro: "sqlite" } as object))).toBe("E_USAGE");
    expect(await codeOf(validateDocument({ type: "sqlite", path: "x.db" }))).toBe("E_USAGE");
    const signal = AbortSignal.abort();
    expect(await codeOf(validateDocument(workspace.path("bad.json.gz"), { signal }))).toBe("E_INTERRUPTED");
    expect(existsSync(workspace.path("missing.json"))).toBe(false);
  });
});
