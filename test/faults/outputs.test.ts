/** Outputs that fail in the middle, in every compression: the export ends with its code, and nothing of it is left. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exportStore } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { canMount, mountSmall, type SmallDisk } from "../helpers/small-disk.js";

/** More than all buffers on the way together, and nothing that compresses. */
const RECORDS = 30_000;
const COMPRESSIONS = ["none", "gzip", "zstd"] as const;

let folder: string;
let source: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "llmspell-outputs-"));
  source = join(folder, "source.db");
  createLlmspellSqlite(source);
  const database = new Database(source);
  database.exec(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${RECORDS})
     INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at)
     SELECT printf('%08x-0000-4000-8000-000000000000', i), 't', 'k/' || i, randomblob(300), 1, 1 FROM n`,
  );
  database.close();
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(COMPRESSIONS)("an output that fails, with compression %s,", (compress) => {
  const fails = (to: Parameters<typeof exportStore>[0]["to"], code: string): Promise<void> =>
    expect(exportStore({ from: source, to, compress })).rejects.toMatchObject({ code });

  it("because its stream is destroyed: with or without an error, after bytes, or before the first", async () => {
    for (const error of [undefined, Object.assign(new Error("no space"), { code: "ENOSPC" })]) {
      const code = error === undefined ? "E_CLOSED_PIPE" : "E_DISK_FULL";
      for (const writes of [1, 3]) {
        let left = writes;
        const stream = new Writable({
          write(_chunk, _encoding, done) {
            if (--left > 0) done();
            // It never calls back.
            else setImmediate(() => stream.destroy(error));
          },
        });
        await fails(stream, code);
      }
    }
    const gone = new Writable({ write: (_chunk, _encoding, done) => done() });
    gone.destroy();
    await once(gone, "close");
    await fails(gone, "E_CLOSED_PIPE");
    const ended = new Writable({ write: (_chunk, _encoding, done) => done() });
    ended.end();
    await once(ended, "finish");
    await fails(ended, "E_CLOSED_PIPE");
  });

  it("because its stream reports an error and stays open", async () => {
    const stream = new Writable({
      autoDestroy: false,
      write: (_chunk, _encoding, done) => done(Object.assign(new Error("quota"), { code: "EDQUOT" })),
    });
    await fails(stream, "E_DISK_FULL");
  });

  it("because its last byte cannot be taken", async () => {
    const stream = new Writable({
      write: (_chunk, _encoding, done) => done(),
      final: (done) => done(Object.assign(new Error("no space"), { code: "ENOSPC" })),
    });
    await fails(stream, "E_DISK_FULL");
  });

  it("because a reader of a pipe goes away", async () => {
    const child = spawn("head", ["-c", "100000"], { stdio: ["pipe", "ignore", "ignore"] });
    const exited = once(child, "exit");
    await fails(child.stdin, "E_CLOSED_PIPE");
    await exited;
    const path = join(folder, `fifo-${compress}`);
    execFileSync("mkfifo", [path]);
    const reader = createReadStream(path);
    reader.once("data", () => reader.destroy());
    await fails({ type: "document", path }, "E_CLOSED_PIPE");
  });

  it.runIf(process.platform === "linux")("because its device is full", async () => {
    await fails({ type: "document", path: "/dev/full" }, "E_DISK_FULL");
  });

  it.runIf(canMount)("because its disk is full", async () => {
    using small = mountSmall(3) as SmallDisk;
    await fails({ type: "document", path: join(small.folder, "out.json") }, "E_DISK_FULL");
    expect(readdirSync(small.folder)).toEqual([]);
  });
});

describe.each([".json", ".json.gz", ".json.zst"])("the command, to a %s,", (ending) => {
  let workspace: Workspace;
  beforeAll(() => {
    workspace = createWorkspace();
  });
  afterAll(() => workspace[Symbol.dispose]());

  it("ends at a limit of the file's size with a code and without a file", async () => {
    const { stdout } = await workspace.bash(
      `mkdir out; ulimit -f 1000; llmspell storage export --quiet --database ${source} --output out/a${ending} 2>&1 || echo "status $?"; ls -A out`,
    );
    expect(stdout).toMatch(
      /^Error: writing the document failed \[E_IO\]\nCaused by: EFBIG.*\nHint: .*ulimit.*\nstatus 1\n$/,
    );
  });

  it("ends quietly when the reader of its standard output goes away", async () => {
    const compress = ending === ".json" ? "none" : ending === ".json.gz" ? "gzip" : "zstd";
    const { stdout, stderr } = await workspace.bash(
      `{ llmspell storage export --quiet --database ${source} --output - --compress ${compress} || echo "status $?" >&2; } | head -c 10000 | wc -c`,
    );
    expect(stdout.trim()).toBe("10000");
    expect(stderr).toBe("status 141\n");
  });
});
