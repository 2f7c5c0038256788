/** What a run writes beside its output's name: whose it is, who may read it, and when it goes away. */
import { type ChildProcess, execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDocumentSink } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { collectingContext } from "../helpers/documents.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { canMount, mountExfat } from "../helpers/small-disk.js";
import { describeWithTools } from "../helpers/system-tools.js";

let workspace: Workspace;
let source: string;

beforeAll(() => {
  workspace = createWorkspace();
  source = workspace.path("source.db");
  createLlmspellSqlite(source);
  const database = new Database(source);
  database.exec(
    `INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at)
     VALUES ('00000001-0000-4000-8000-000000000000', 't', 'k', x'00', 1, 1)`,
  );
  database.close();
  writeFileSync(
    workspace.path("wait.mjs"),
    `import { writeFileSync } from "node:fs";
     const transform = async () => { writeFileSync("waiting", ""); await new Promise((done) => setTimeout(done, 600_000)); };
     export default { name: "wait", sections: ["kv_store"], drops: false, transform };`,
  );
});

afterAll(() => workspace[Symbol.dispose]());

let names = 0;
function freshFolder(): string {
  const folder = workspace.path(`folder-${++names}`);
  mkdirSync(folder);
  return folder;
}

/** A document of one kv record whose key is `key`, in two parts. */
function documentParts(key: string): [string, string] {
  const record = {
    ...{ kv_id: "00000001-0000-4000-8000-000000000000", tenant_id: "t", key, value: "AA==" },
    // Beyond the first bytes, by which the form of the input is told.
    metadata: { padding: "x".repeat(4096) },
    ...{ created_at: 1, updated_at: 1 },
  };
  const head = {
    version: "1.0",
    exported_at: "2026-01-01T00:00:00Z",
    source_backend: "postgresql",
    // Without it the import looks at the records first, to know whose they are.
    producer: "test/1",
    migrations: ["V1"],
  };
  const text = JSON.stringify({ ...head, data: { kv_store: [record] } });
  return [text.slice(0, -5), text.slice(-5)];
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 5));
}

/** Starts an import that waits for the rest of its input, and waits until it has begun to write. */
async function startImport(target: string, head: string): Promise<ChildProcess> {
  const before = new Set(readdirSync(dirname(target)));
  const child = workspace.start(["storage", "import", "--database", target, "--input", "-"], { stdin: "" });
  child.stdin?.write(head);
  await until(() => readdirSync(dirname(target)).some((name) => !before.has(name) && name.endsWith(".importing")));
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const closed = once(child, "close");
  child.stdout?.resume();
  child.stderr?.resume();
  child.kill("SIGKILL");
  await closed;
}

async function killedExport(output: string): Promise<void> {
  rmSync(workspace.path("waiting"), { force: true });
  const child = workspace.start([
    "storage",
    "export",
    "--database",
    source,
    "--output",
    output,
    "--plugin",
    "./wait.mjs",
  ]);
  await until(() => existsSync(workspace.path("waiting")));
  await kill(child);
}

/** Two imports into one new database: one of them is told that the other was first. */
async function raceInto(folder: string): Promise<void> {
  const target = join(folder, "new.db");
  const keys = ["one", "other"];
  const parts = keys.map(documentParts);
  const children = [];
  for (const [head] of parts) children.push(await startImport(target, head));
  const outcomes = await Promise.all(children.map((child, i) => outcomeOf(child, parts[i]?.[1])));
  expect(outcomes.map(({ status }) => status).sort()).toEqual([0, 3]);
  const winner = outcomes.findIndex(({ status }) => status === 0);
  expect(outcomes[1 - winner]?.stderr).toContain(`another process created ${target} during the import [E_LOCKED]`);
  const database = new Database(target, { readonly: true });
  expect(database.prepare("SELECT key FROM kv_store").pluck().all()).toEqual([keys[winner]]);
  database.close();
  expect(readdirSync(folder).filter((name) => !name.startsWith("new.db"))).toEqual([]);
}

describe("two imports into one new SQLite file", () => {
  it("make one database, whole, and one error", () => raceInto(freshFolder()));

  describeWithTools(["exfat-fuse", "exfatprogs"], "on a file system without hard links", () => {
    it.runIf(canMount)("do so, too", async () => {
      using disk = mountExfat();
      if (disk === undefined) {
        process.stderr.write(
          "\u001b[31mSKIPPED: a file system without hard links (exFAT cannot be mounted here)\u001b[0m\n",
        );
        return;
      }
      expect(() => execFileSync("sh", ["-c", "echo > a && ln a b"], { cwd: disk.folder, stdio: "ignore" })).toThrow();
      rmSync(join(disk.folder, "a"));
      await raceInto(disk.folder);
    });
  });
});

describe("what a killed run leaves", () => {
  it.each(["a.json", "a.json.zst", `${"long".repeat(61)}.json`])(
    "beside a document %s goes with the next run to that name, and no other's does",
    async (name) => {
      const folder = freshFolder();
      await killedExport(join(folder, name));
      await killedExport(join(folder, "other.json"));
      expect(readdirSync(folder)).toHaveLength(2);
      writeFileSync(join(folder, `.${name.slice(0, 9)}.0123456789ab.tmp.txt`), "somebody's");
      const living = createDocumentSink({ output: { path: join(folder, name), allowEmpty: true }, producer: "test/1" });
      await living.open({ backend: "sqlite", migrations: ["V1"] }, collectingContext(false));
      await workspace.must(["storage", "export", "--database", source, "--output", join(folder, name)]);
      // The new document, the living run's, the other name's, and somebody's.
      expect(readdirSync(folder)).toHaveLength(4);
      await living.finish();
      await living.abort();
      expect(readdirSync(folder).filter((file) => file.endsWith(".tmp"))).toHaveLength(1);
    },
  );

  it("of a new database goes with the next import to that name; a living import's stays", async () => {
    const folder = freshFolder();
    const target = join(folder, "new.db");
    const [head, rest] = documentParts("k");
    await kill(await startImport(target, head));
    expect(readdirSync(folder)).toHaveLength(1);
    const living = await startImport(target, head);
    expect(readdirSync(folder)).toHaveLength(1);
    writeFileSync(workspace.path("whole.json"), head + rest);
    await workspace.must(["storage", "import", "--database", target, "--input", "whole.json"]);
    expect(readdirSync(folder).filter((name) => name.endsWith(".importing"))).toHaveLength(1);
    expect((await outcomeOf(living, rest)).status).toBe(3);
    expect(readdirSync(folder)).toEqual(["new.db"]);
  });

  it("of a dry run goes with the next one", async () => {
    const folder = freshFolder();
    const env = { TMPDIR: folder };
    const words = ["storage", "import", "--database", join(folder, "../dry.db"), "--dry-run", "--input"];
    const child = workspace.start([...words, "-"], { stdin: "", env });
    const [head, rest] = documentParts("k");
    child.stdin?.write(head);
    await until(() => readdirSync(folder).length > 0);
    const [name] = readdirSync(folder);
    expect(statSync(join(folder, name as string)).mode & 0o777).toBe(0o700);
    await kill(child);
    expect(readdirSync(folder)).toEqual([name]);
    writeFileSync(workspace.path("whole.json"), head + rest);
    await workspace.must([...words, "whole.json"], { env });
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("the modes of new files", () => {
  it.each(["000", "022", "077"])("are the owner's alone under umask %s, from the first byte", async (umask) => {
    const folder = freshFolder();
    const target = join(folder, "new.db");
    const before = process.umask(Number.parseInt(umask, 8));
    try {
      const [head, rest] = documentParts("k");
      const child = await startImport(target, head);
      const [working] = readdirSync(folder);
      expect(statSync(join(folder, working as string)).mode & 0o777).toBe(0o700);
      for (const name of readdirSync(join(folder, working as string)))
        expect(statSync(join(folder, working as string, name)).mode & 0o777).toBe(0o600);
      expect((await outcomeOf(child, rest)).status).toBe(0);
      await workspace.must(["database", "migrate", "--database", join(folder, "migrated.db")]);
      const open = new Database(join(folder, "migrated.db"));
      open.exec("BEGIN IMMEDIATE; CREATE TABLE t (a); COMMIT");
      expect(readdirSync(folder).sort()).toEqual(["migrated.db", "migrated.db-shm", "migrated.db-wal", "new.db"]);
      for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
      open.close();
    } finally {
      process.umask(before);
    }
  });
});

describe("a long name", () => {
  it.each([238, 243, 255])("of %i bytes is a document's", async (bytes) => {
    const output = join(freshFolder(), `${"ä".repeat(100)}${"a".repeat(bytes - 205)}.json`);
    expect(Buffer.byteLength(basename(output))).toBe(bytes);
    await workspace.must(["storage", "export", "--database", source, "--output", output]);
    expect(readdirSync(dirname(output))).toEqual([basename(output)]);
  });

  it("of 247 bytes is a database's, also when it is written again", async () => {
    const target = join(freshFolder(), `${"a".repeat(240)}.sqlite`);
    writeFileSync(workspace.path("whole.json"), documentParts("k").join(""));
    for (let run = 0; run < 2; run++)
      await workspace.must(["storage", "import", "--database", target, "--input", "whole.json"]);
  });

  it("is refused where nothing can have it", async () => {
    const folder = freshFolder();
    const runs = [
      ["storage", "export", "--database", source, "--output", join(folder, `${"a".repeat(251)}.json`)],
      ["storage", "import", "--database", join(folder, `${"a".repeat(241)}.sqlite`), "--input", "whole.json"],
      ["storage", "import", "--database", join(folder, `${"a".repeat(250)}.sqlite`), "--input", "whole.json"],
      ["database", "migrate", "--database", join(folder, `${"a".repeat(241)}.sqlite`)],
    ];
    for (const words of runs) {
      const { status, stderr } = await workspace.run(words);
      expect([status, stderr]).toEqual([2, expect.stringMatching(/^Error: .*name is too long \[E_USAGE\]$/m)]);
    }
    expect(readdirSync(folder)).toEqual([]);
  });
});
