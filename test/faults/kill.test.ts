/** SIGKILL in the middle of an import: the target is as it was, nothing is left behind, and the next import succeeds. */
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, WITH_ALLOCATOR, type Workspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { scaled } from "../helpers/scale.js";
import { exportedDigest, pgliteTarget, postgresTarget, sqliteTarget, type TargetFactory } from "./targets.js";

/** One more comes just before the document ends. */
const KILLS = scaled(1, 10);
/** It takes seconds to start. */
const EMBEDDED_KILLS = scaled(0, 10);
const LATE_KILLS = scaled(1, 3);
const MINUTES = 60_000;

let made: Buffer | undefined;

/** A document of some megabytes, large objects in its middle: made once. */
async function createDocument(workspace: Workspace): Promise<string> {
  made ??= readFileSync(await exportDocument(workspace));
  const document = workspace.path("source.json");
  writeFileSync(document, made);
  return document;
}

async function exportDocument(workspace: Workspace): Promise<string> {
  const sqlite = workspace.path("source.db");
  const document = workspace.path("source.json");
  createLlmspellSqlite(sqlite);
  fillSqlite(sqlite, { records: scaled(50, 150), seed: "imported", contentSizes: [1048576, 9, 4 * 1048576, 1048577] });
  await workspace.must(["storage", "export", "--database", sqlite, "--output", document]);
  return document;
}

/**
 * Starts an import from its standard input, gives it the document's first bytes, and kills it. As the document never
 * ends, no import could have been complete: the target must be unchanged whenever the kill comes.
 */
async function killImport(workspace: Workspace, store: string, document: Buffer, bytes: number): Promise<void> {
  const child = workspace.start(["storage", "import", "--database", store, "--input", "-"], { stdin: "" });
  const closed = once(child, "close");
  child.stdin?.on("error", () => {});
  child.stdout?.resume();
  child.stderr?.resume();
  // The callback comes when the process has taken all but the pipe's last 64 KiB.
  const taken = new Promise<void>((resolve) => child.stdin?.write(document.subarray(0, bytes), () => resolve()));
  await Promise.race([taken, closed]);
  await sleep(randomInt(0, 200));
  child.kill("SIGKILL");
  const [, signal] = (await closed) as [number | null, string | null];
  expect(signal).toBe("SIGKILL");
}

function registerKillTests(factory: TargetFactory, kills = KILLS): void {
  describe(`SIGKILL of an import into ${factory.name}`, () => {
    it(
      `leaves the target unchanged, ${kills} times, and the next import succeeds at once`,
      async () => {
        using workspace = createWorkspace(WITH_ALLOCATOR);
        const target = await factory.open(workspace);
        try {
          const path = await createDocument(workspace);
          const document = readFileSync(path);
          const before = await target.digest();
          const { largeObjects } = await target.leftovers();
          for (let kill = 0; kill < kills; kill++) {
            const bytes = randomInt(1000, document.length - 100);
            await killImport(workspace, target.store, document, bytes);
            expect(await target.leftovers(), `after ${bytes} bytes`).toEqual({ locks: 0, largeObjects });
            expect(await target.digest(), `after ${bytes} bytes`).toBe(before);
          }
          await killImport(workspace, target.store, document, document.length - 2);
          await workspace.must(["storage", "import", "--database", target.store, "--input", path]);
          expect(await target.digest()).not.toBe(before);
          const again = workspace.path("again.json");
          await workspace.must(["storage", "export", "--database", target.store, "--output", again]);
        } finally {
          await target.close();
        }
      },
      10 * MINUTES,
    );

    it(
      "is all or nothing also when the kill comes at the end",
      async () => {
        using workspace = createWorkspace(WITH_ALLOCATOR);
        const target = await factory.open(workspace);
        try {
          const path = await createDocument(workspace);
          const before = await exportedDigest(workspace, target.store);
          const seen: string[] = [];
          for (let kill = 0; kill < LATE_KILLS; kill++) {
            // With the whole document given, the process may be killed anywhere up to its commit, or just after.
            const child = workspace.start(["storage", "import", "--database", target.store, "--input", path]);
            const closed = once(child, "close");
            child.stdout?.resume();
            child.stderr?.resume();
            await sleep(randomInt(500, 2000));
            child.kill("SIGKILL");
            await closed;
            expect((await target.leftovers()).locks).toBe(0);
            seen.push(await exportedDigest(workspace, target.store));
          }
          await workspace.must(["storage", "import", "--database", target.store, "--input", path]);
          const complete = await exportedDigest(workspace, target.store);
          for (const each of seen) expect([before, complete]).toContain(each);
        } finally {
          await target.close();
        }
      },
      10 * MINUTES,
    );
  });
}

registerKillTests(sqliteTarget);
// Each takes ten seconds: npm run test:long does them.
if (EMBEDDED_KILLS > 0) registerKillTests(pgliteTarget, EMBEDDED_KILLS);
describePostgres("on a server", () => registerKillTests(postgresTarget));
