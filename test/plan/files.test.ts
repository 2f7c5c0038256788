/** A plan of an SQLite target, or of a document, foretells what the run then does, and changes no byte. */
import { copyFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { StorageError } from "../../src/errors.js";
import {
  type ExportOptions,
  exportStore,
  type ImportOptions,
  importStore,
  planTransfer,
  type TransferPlan,
  type TransferResult,
} from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { canMount, mountSmall, type SmallDisk } from "../helpers/small-disk.js";

let shared: Workspace;
let workspace: Workspace;
let source: string;
beforeAll(() => {
  shared = createWorkspace();
  source = shared.path("source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: 12, contentSizes: [0, 5, 1048577] });
});
afterAll(() => shared[Symbol.dispose]());
beforeEach(() => {
  workspace = createWorkspace();
});
afterEach(() => workspace[Symbol.dispose]());

/** The folder's files by name, with their bytes. */
function files(): Record<string, string> {
  const names = readdirSync(workspace.folder, { withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(names.map(({ name }) => [name, readFileSync(workspace.path(name), "base64")]));
}

function change(path: string, sql: string): void {
  const database = new Database(path);
  database.pragma("foreign_keys = OFF");
  database.pragma("ignore_check_constraints = ON");
  database.exec(sql);
  database.pragma("wal_checkpoint(TRUNCATE)");
  database.close();
}

type Options = Omit<Partial<ImportOptions>, "from" | "to" | "dryRun">;

async function planAndLoad(
  to: string,
  { from = source, dryRun = false, ...options }: Options & { from?: string; dryRun?: boolean } = {},
): Promise<{ plan: TransferPlan; built: string[] }> {
  const before = files();
  const plan = await planTransfer({ ...options, from, to, exact: true });
  // Readers of a WAL database leave an empty log at most.
  for (const [name, bytes] of Object.entries(files())) if (!/-(wal|shm)$/.test(name)) expect(bytes).toBe(before[name]);
  const built: string[] = [];
  let result: TransferResult | undefined;
  let error: StorageError | undefined;
  try {
    const onProgress: ImportOptions["onProgress"] = ({ index }) => {
      if (index !== undefined && !built.includes(index.name)) built.push(index.name);
    };
    result = await importStore({ ...options, from, to, dryRun, onProgress });
  } catch (thrown) {
    error = thrown as StorageError;
  }
  expect([plan.refused?.code, plan.refused?.exitStatus]).toEqual([error?.code, error?.exitStatus]);
  for (const { path, read, inserted, updated, unchanged, skipped, dropped } of result?.kinds ?? []) {
    const planned = plan.sections.find((section) => section.path === path);
    const { records, new: added, same = 0, changed = 0, dropped: left } = planned ?? {};
    const met = options.onConflict === "skip" ? [0, 0, same + changed] : [same + changed, same, 0];
    // A content that travels in pieces is written without a look at what is there.
    const seen = path === "artifacts.content" ? met[1] && unchanged : unchanged;
    expect([
      path,
      records,
      added,
      ...met.with(1, path === "artifacts.content" ? (seen as number) : (met[1] as number)),
      left,
    ]).toEqual([path, read, inserted, updated, seen, skipped, dropped]);
  }
  return { plan, built };
}

describe("storage plan of a load into SQLite", () => {
  it("a new file, which is not made; then the same again, and what is changed, gone or only there", async () => {
    const to = workspace.path("new.db");
    const quick = await planTransfer({ from: source, to });
    expect([quick.exact, quick.refused, quick.reading]).toEqual([false, undefined, undefined]);
    const { plan, built } = await planAndLoad(to);
    // The sample was all of it.
    for (const { path, records, estimated, new: added } of quick.sections)
      expect([path, records, estimated, added]).toEqual([
        path,
        plan.sections.find((section) => section.path === path)?.records,
        false,
        records,
      ]);
    expect(quick.sections.length).toBe(plan.sections.length);
    expect(built.length).toBeGreaterThan(0);
    expect(plan.migrations[0]).toMatch(/^V1 /);
    expect([...new Set(plan.sections.flatMap(({ rebuilds }) => rebuilds))].sort()).toEqual(built.toSorted());
    expect(plan.sections.every(({ into }) => into === "direct")).toBe(true);
    const again = await planAndLoad(to);
    expect(again.plan.migrations).toEqual([]);
    expect(again.plan.sections.every(({ into, onlyThere }) => into === "merge" && onlyThere === 0)).toBe(true);
    change(
      to,
      `UPDATE kv_store SET value = x'01' WHERE rowid <= 3;
       DELETE FROM hook_history WHERE rowid <= 2;
       INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at) VALUES ('00000000-0000-4000-8000-00000000000f', 'only', 'there', '', 1, 1)`,
    );
    const changed = await planAndLoad(to, { dryRun: true });
    expect(changed.plan.sections.find(({ path }) => path === "kv_store")).toMatchObject({ changed: 3, onlyThere: 1 });
    expect(changed.plan.sections.find(({ path }) => path === "hook_history")).toMatchObject({ new: 2 });
    await planAndLoad(to, { onConflict: "skip" });
    await planAndLoad(to, { onConflict: "error" });
  });

  it("llmspell's own file, whose migrations come first, and its indexes", async () => {
    const to = workspace.path("old.db");
    createLlmspellSqlite(to);
    const quick = await planTransfer({ from: source, to });
    expect([quick.exact, quick.refused, quick.reading]).toEqual([false, undefined, undefined]);
    const { plan, built } = await planAndLoad(to);
    // The sample was all of it.
    for (const { path, records, estimated, new: added } of quick.sections)
      expect([path, records, estimated, added]).toEqual([
        path,
        plan.sections.find((section) => section.path === path)?.records,
        false,
        records,
      ]);
    expect(quick.sections.length).toBe(plan.sections.length);
    expect(built.length).toBeGreaterThan(0);
    expect(plan.migrations.length).toBeGreaterThan(0);
    expect(plan.migrations.every((name) => name.startsWith("S"))).toBe(true);
    expect(plan.sections.flatMap(({ rebuilds }) => rebuilds)).toEqual(expect.arrayContaining(built.slice(0, 1)));
  });

  it("orphans, two records of one key, another program's file", async () => {
    const orphans = workspace.path("orphans.db");
    copyFileSync(source, orphans);
    change(orphans, "DELETE FROM sessions WHERE session_id = (SELECT session_id FROM artifacts LIMIT 1)");
    const { plan } = await planAndLoad(workspace.path("a.db"), { from: orphans });
    expect(plan.refused?.code).toBe("E_ORPHAN");
    await planAndLoad(workspace.path("b.db"), { from: orphans, onOrphan: "drop" });
    const document = workspace.path("twice.json");
    await exportStore({ from: source, to: document, include: ["hook_history"] });
    const whole = JSON.parse(readFileSync(document, "utf8"));
    whole.data.hook_history.push(whole.data.hook_history[0]);
    writeFileSync(document, JSON.stringify(whole));
    const twice = await planAndLoad(workspace.path("c.db"), { from: document, verifyManifest: false });
    expect(twice.plan.refused?.code).toBe("E_KEY_CONFLICT");
    change(workspace.path("other.db"), "CREATE TABLE bookmarks (url TEXT)");
    expect((await planAndLoad(workspace.path("other.db"))).plan.refused?.code).toBe("E_NOT_MIGRATED");
  });
});

describe("storage plan of an export", () => {
  async function planAndExport(
    to: string,
    options: Omit<Partial<ExportOptions>, "from" | "to"> = {},
    from = source,
  ): Promise<TransferPlan> {
    const content = (): string | undefined => (existsSync(to) ? readFileSync(to, "base64") : undefined);
    const before = content();
    const plan = await planTransfer({ ...options, from, to, exact: true });
    expect(content() === before).toBe(true);
    let error: StorageError | undefined;
    let result: TransferResult | undefined;
    try {
      result = await exportStore({ ...options, from, to });
    } catch (thrown) {
      error = thrown as StorageError;
    }
    expect([plan.refused?.code, plan.refused?.exitStatus]).toEqual([error?.code, error?.exitStatus]);
    if (result !== undefined) {
      expect(plan.sections.map(({ path, records }) => [path, records])).toEqual(
        result.kinds.map(({ path, read }) => [path, read]),
      );
    }
    return plan;
  }

  it.each(["plain.json", "packed.json.gz", "packed.json.zst"])("knows the size of %s", async (name) => {
    const to = workspace.path(name);
    const plan = await planAndExport(to);
    // The time of the export is part of the document, and packs otherwise.
    expect(Math.abs((plan.targetSpace.wanted as number) - statSync(to).size)).toBeLessThan(64);
  });

  it("a file that is something else, and records that would replace none", async () => {
    writeFileSync(workspace.path("notes.json"), "my notes");
    expect((await planAndExport(workspace.path("notes.json"))).refused?.code).toBe("E_OUTPUT_EXISTS");
    expect((await planAndExport(workspace.path("notes.json"), { force: true })).refused).toBeUndefined();
    const empty = workspace.path("empty.db");
    createLlmspellSqlite(empty);
    expect((await planAndExport(workspace.path("notes.json"), {}, empty)).refused?.code).toBe("E_NO_RECORDS");
  });

  it.runIf(canMount)("a disk that is too small", async () => {
    using small = mountSmall(1) as SmallDisk;
    const plan = await planAndExport(join(small.folder, "export.json"));
    expect(plan.refused?.code).toBe("E_DISK_FULL");
    expect(readdirSync(small.folder)).toEqual([]);
    // Estimates are enough where it is so much too small.
    const { refused, sections } = await planTransfer({ from: source, to: join(small.folder, "export.json") });
    expect(refused?.code).toBe("E_DISK_FULL");
    expect(sections.length).toBeGreaterThan(10);
  });

  it("is what the command prints, with the exit status of the run", async () => {
    const store = ["--database", source];
    writeFileSync(workspace.path("notes.json"), "my notes");
    const planned = await workspace.run(["storage", "plan", ...store, "--output", "notes.json", "--json"]);
    expect([planned.status, JSON.parse(planned.stdout).error.code]).toEqual([2, "E_OUTPUT_EXISTS"]);
    const flagged = await workspace.run([
      "storage",
      "export",
      ...store,
      "--output",
      "new.json",
      "--plan",
      "--no-progress",
    ]);
    expect([flagged.status, flagged.stderr]).toEqual([0, ""]);
    expect(flagged.stdout).toContain("It would go.");
    expect(existsSync(workspace.path("new.json"))).toBe(false);
    const refused: [string[], string][] = [
      [["export", ...store, "--output", "new.json", "--exact"], "--exact needs --plan"],
      [["export", ...store, "--output", "new.json", "--plan", "--report", "r.html"], "--report would have no effect"],
      [["plan", ...store, "--output", "new.json", "--on-conflict", "skip"], "--on-conflict would have no effect"],
      [["plan", "--from", source, "--to", "new.db", "--compress", "gzip"], "--compress would have no effect"],
    ];
    for (const [words, message] of refused) {
      const { status, stderr } = await workspace.run(["storage", ...words]);
      expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
    }
    const neither = await workspace.run(["storage", "plan"]);
    expect([neither.status, neither.stderr]).toEqual([2, expect.stringContaining("a plan needs two stores")]);
  });
});
