/** `storage rewrite` and rewriteDocument: from document to document. */
import { createHash } from "node:crypto";
import { existsSync, linkSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import { gunzipSync, gzipSync, zstdDecompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rewriteDocument, type StorageError } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Outcome, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";

let workspace: Workspace;
/** An export. */
let full: string;
const read = (name: string): string => readFileSync(workspace.path(name), "utf8");
const rewrite = (...words: string[]): Promise<Outcome> => workspace.must(["storage", "rewrite", ...words]);
const withoutProducer = (text: string): string => text.replace(/"producer":"[^"]*"/, "");

beforeAll(async () => {
  workspace = createWorkspace();
  const source = workspace.path("source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: 6, contentSizes: [0, 10, 1_500_000] });
  await workspace.must(["storage", "export", "--database", source, "--output", "full.json"]);
  full = read("full.json");
});
afterAll(() => workspace[Symbol.dispose]());

describe("storage rewrite", () => {
  it("keeps every byte without transforms: header, records and manifest, through each compression and stdin", async () => {
    await rewrite("--input", "full.json", "--output", "a.json.gz");
    expect(gunzipSync(readFileSync(workspace.path("a.json.gz"))).toString()).toBe(full);
    await rewrite("--input", "a.json.gz", "--output", "a.json.zst");
    expect(zstdDecompressSync(readFileSync(workspace.path("a.json.zst"))).toString()).toBe(full);
    const words = ["storage", "rewrite", "--input", "-", "--output", "-"];
    const { stdout, stderr } = await workspace.must(words, { stdin: gzipSync(full) });
    expect(createHash("sha256").update(stdout).digest("hex")).toBe(createHash("sha256").update(full).digest("hex"));
    expect(stderr).toContain("Rewritten");
  });

  it("puts sections that come in any order into that of a document, records and large contents whole", async () => {
    const { rawJSON } = JSON as unknown as { rawJSON: (text: string) => unknown };
    const exact = (_key: string, value: unknown, { source }: { source?: string } = {}): unknown =>
      typeof value === "number" && source !== undefined ? rawJSON(source) : value;
    const { data, ...rest } = JSON.parse(full, exact as never);
    const digest = (text: string): string => createHash("sha256").update(text).digest("hex");
    writeFileSync(workspace.path("anew.json"), JSON.stringify({ data, ...rest }));
    await rewrite("--input", "anew.json", "--output", "expected.json");
    const expected = digest(read("expected.json"));
    const orders: readonly ((a: string, b: string) => number)[] = [
      (a, b) => (a < b ? -1 : 1),
      (a, b) => (a < b ? 1 : -1),
      (a, b) => (createHash("md5").update(a).digest("hex") < createHash("md5").update(b).digest("hex") ? -1 : 1),
    ];
    for (const order of orders) {
      const sorted = (value: object): object =>
        Object.fromEntries(Object.entries(value).sort(([a], [b]) => order(a, b)));
      const sections = Object.entries(sorted(data)).map(([name, value]) => [
        name,
        Array.isArray(value) ? value : sorted(value as object),
      ]);
      const text = JSON.stringify({ data: Object.fromEntries(sections), ...rest });
      writeFileSync(workspace.path("sorted.json"), text);
      await rewrite("--input", "sorted.json", "--output", "ordered.json");
      expect(digest(read("ordered.json"))).toBe(expected);
      const { stdout } = await workspace.must(["storage", "rewrite", "--input", "-", "--output", "-"], {
        stdin: gzipSync(text),
      });
      expect(digest(stdout)).toBe(expected);
    }
    // With steps, a selection, and what goes with dropped records.
    await rewrite("--input", "sorted.json", "--output", "some.json", "--jq", ".data.sessions = .data.sessions[:2]");
    await rewrite("--input", "anew.json", "--output", "same.json", "--jq", ".data.sessions = .data.sessions[:2]");
    expect(digest(read("some.json"))).toBe(digest(read("same.json")));
    writeFileSync(workspace.path("cut.json"), JSON.stringify({ data }).slice(0, -1000));
    const cut = await workspace.run(["storage", "rewrite", "--input", "cut.json", "--output", "not.json"]);
    expect(cut.stderr).toContain("[E_DOCUMENT_TRUNCATED]");
    expect(existsSync(workspace.path("not.json"))).toBe(false);
  });

  it("does what the guide does with jq, as a stream", async () => {
    await workspace.bash("jq '.data.sessions = .data.sessions[:5]' full.json > with-jq.json");
    await rewrite(
      "--input",
      "full.json",
      "--output",
      "new.json",
      "--jq",
      ".data.sessions = .data.sessions[:5]",
      "--no-cascade",
    );
    // By jq's own eyes, which rounds numbers.
    await workspace.bash("diff <(jq -S .data new.json) <(jq -S .data with-jq.json)");
    // In our own layout again, with its digests.
    const { stderr } = await workspace.run(["storage", "validate", "new.json"]);
    expect(stderr).not.toContain("re-serialised");
  });

  it("takes selection, tenants, limits, masks and vectors, and keeps what the document says of its source", async () => {
    await rewrite(
      ...["--input", "full.json", "--output", "part.json", "--include", "sessions", "--tenant", "tenant-a"],
      ...["--limit", "1", "--map-tenant", "tenant-a=b", "--mask", "sessions.session_data=redact"],
    );
    const [before, after] = [JSON.parse(full), JSON.parse(read("part.json"))];
    for (const name of ["exported_at", "source_backend", "migrations"]) expect(after[name]).toEqual(before[name]);
    expect(after.data.sessions).toHaveLength(1);
    expect(after.data.sessions[0].tenant_id).toBe("b");
    expect(after.manifest.total).toBe(1);
    await rewrite(
      "--input",
      "full.json",
      "--output",
      "numbers.json",
      "--vectors",
      "json",
      "--include",
      "vector_embeddings",
    );
    expect(Array.isArray(JSON.parse(read("numbers.json")).data.vector_embeddings["384"][0].embedding)).toBe(true);
    await rewrite("--input", "numbers.json", "--output", "base64.json");
    expect(JSON.parse(read("base64.json")).data).toEqual({ vector_embeddings: before.data.vector_embeddings });
  });

  it("makes a document of llmspell's own one of ours: what an import of either gives is the same", async () => {
    const legacy = readFileSync(new URL("../golden/legacy-0.14.json", import.meta.url));
    writeFileSync(workspace.path("legacy.json"), legacy);
    await rewrite("--input", "legacy.json", "--output", "modern.json");
    for (const name of ["legacy", "modern"]) {
      await workspace.must(["storage", "import", "--database", `${name}.db`, "--input", `${name}.json`]);
      await workspace.must(["storage", "export", "--database", `${name}.db`, "--output", `${name}-out.json`]);
    }
    expect(JSON.parse(read("modern-out.json")).data).toEqual(JSON.parse(read("legacy-out.json")).data);
    expect(JSON.parse(read("modern.json")).exported_at).toBe(JSON.parse(legacy.toString()).exported_at);
  });

  it("leaves nothing of a run that fails, and the document that was there", async () => {
    writeFileSync(workspace.path("cut.json"), full.slice(0, -200));
    await rewrite("--input", "full.json", "--output", "kept.json");
    for (const output of ["kept.json", "fresh.json"]) {
      const { status } = await workspace.run(["storage", "rewrite", "--input", "cut.json", "--output", output]);
      expect(status).toBe(4);
    }
    expect(withoutProducer(read("kept.json"))).toBe(withoutProducer(full));
    expect(existsSync(workspace.path("fresh.json"))).toBe(false);
    expect(readdirSync(workspace.folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    writeFileSync(workspace.path("notes.txt"), "mine");
    const other = await workspace.run(["storage", "rewrite", "--input", "full.json", "--output", "notes.txt"]);
    expect([other.status, read("notes.txt")]).toEqual([2, "mine"]);
    const none = await workspace.run([
      "storage",
      "rewrite",
      "--input",
      "full.json",
      "--output",
      "kept.json",
      "--tenant",
      "nobody",
    ]);
    expect([none.status, none.stderr]).toEqual([4, expect.stringContaining("E_NO_RECORDS")]);
  });

  it("does not write a document over itself, by whatever name; but by way of the shell it may", async () => {
    await rewrite("--input", "full.json", "--output", "self.json");
    linkSync(workspace.path("self.json"), workspace.path("hard.json"));
    symlinkSync("self.json", workspace.path("soft.json"));
    for (const output of ["self.json", "./self.json", "hard.json", "soft.json"]) {
      const { status, stderr } = await workspace.run([
        "storage",
        "rewrite",
        "--input",
        "self.json",
        "--output",
        output,
      ]);
      expect([status, stderr]).toEqual([2, expect.stringContaining("E_USAGE")]);
    }
    await workspace.bash("llmspell storage rewrite --input - --output self.json < self.json");
    expect(read("self.json")).toBe(full);
  });

  it("rejects bad records with --on-error skip, and the rest is there", async () => {
    const bad = full.replace(/"artifact_count":\d+/, '"artifact_count":"x"');
    writeFileSync(workspace.path("bad.json"), bad.replace('"producer"', '"was"'));
    const words = ["--on-error", "skip", "--rejects", "rejects.ndjson"];
    const { status } = await workspace.run([
      "storage",
      "rewrite",
      "--input",
      "bad.json",
      "--output",
      "good.json",
      ...words,
    ]);
    expect(status).toBe(6);
    expect(read("rejects.ndjson")).toContain('"code":"E_FIELD_TYPE"');
    expect(JSON.parse(read("good.json")).data.sessions).toHaveLength(JSON.parse(full).data.sessions.length - 1);
  });

  it("runs the steps of config.toml that are for it", async () => {
    writeFileSync(
      workspace.path("steps.toml"),
      '[transforms]\non = ["rewrite"]\nsteps = [{ map_tenant = "tenant-a=z" }]\n',
    );
    await rewrite("--input", "full.json", "--output", "z.json", "--config", "steps.toml");
    expect(read("z.json")).not.toContain('"tenant-a"');
  });
});

describe("rewriteDocument", () => {
  it("takes streams, and refuses databases and options that there are not", async () => {
    const { totals } = await rewriteDocument({
      from: Readable.from([Buffer.from(full)]),
      to: { type: "document", path: workspace.path("library.json") },
      transforms: [{ type: "map-tenant", from: "tenant-a", to: "y" }],
    });
    expect(totals.inserted).toBe(JSON.parse(full).manifest.total);
    const codeOf = (options: object): Promise<string> =>
      rewriteDocument({ from: workspace.path("full.json"), to: workspace.path("x.json"), ...options }).then(
        () => "done",
        (error: StorageError) => error.code,
      );
    expect(await codeOf({ from: { type: "sqlite", path: "x.db" } })).toBe("E_USAGE");
    expect(await codeOf({ tenant: ["a"] })).toBe("E_USAGE");
    expect(await codeOf({ to: workspace.path("full.json") })).toBe("E_USAGE");
  });
});
