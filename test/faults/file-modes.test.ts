/** Who may read and write what runs make, and what was there: the owner alone, or it is told. */
import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as records from "../fidelity/records.js";
import { documentText } from "../fidelity/support.js";
import { createWorkspace, type Workspace, withoutTimes } from "../helpers/llmspell.js";

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
  writeFileSync(workspace.path("whole.json"), documentText({ kv_store: [records.kv(1)] }));
});
afterAll(() => workspace[Symbol.dispose]());

let folders = 0;
function freshFolder(): string {
  const folder = workspace.path(`folder-${++folders}`);
  mkdirSync(folder);
  return folder;
}

describe("an embedded PostgreSQL", () => {
  it("is its owner's alone under umask 000, and one of two processes makes it", async () => {
    const folder = freshFolder();
    const words = ["database", "migrate", "--database", `pglite:${folder}/new`];
    const before = process.umask(0);
    try {
      const outcomes = await Promise.all([workspace.run(words), workspace.run(words)]);
      for (const { status, stderr } of outcomes)
        expect([status, stderr]).toEqual(status === 0 ? [0, ""] : [3, expect.stringContaining("[E_LOCKED]")]);
      expect(outcomes.some(({ status }) => status === 0)).toBe(true);
      const open = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(
        ({ parentPath, name }) => (statSync(join(parentPath, name)).mode & 0o077) !== 0,
      );
      expect(open.map(({ name }) => name)).toEqual([]);
      expect(statSync(join(folder, "new")).mode & 0o777).toBe(0o700);
    } finally {
      process.umask(before);
    }
  });
});

describe("a store that others can get at", () => {
  it("is left as it is and told of, once, unless --quiet; not where a folder above keeps them out", async () => {
    const folder = freshFolder();
    const database = join(folder, "a.db");
    await workspace.must(["storage", "import", "--database", database, "--input", "whole.json"]);
    const words = ["storage", "export", "--database", database, "--output", join(folder, "a.json"), "--no-progress"];
    const told = async (mode: number, above: number, ...more: string[]): Promise<string> => {
      chmodSync(database, mode);
      chmodSync(workspace.folder, above);
      const { stderr } = await workspace.must([...words, ...more]);
      expect(statSync(database).mode & 0o777).toBe(mode);
      return withoutTimes(stderr);
    };
    try {
      expect(await told(0o646, 0o755)).toBe(
        `Warning: other users may read and write ${database} (mode 646); \`chmod 600\` keeps it to its owner\n`,
      );
      expect(await told(0o644, 0o755)).toContain("may read /");
      expect(await told(0o644, 0o755, "--quiet")).toBe("");
      expect(await told(0o640, 0o755)).toBe("");
      expect(await told(0o644, 0o700)).toBe("");
      chmodSync(database, 0o644);
      chmodSync(workspace.folder, 0o755);
      const { stdout } = await workspace.must(["database", "migrate", "--database", database, "--json"]);
      expect(JSON.parse(stdout)).toMatchObject({ warnings: [expect.stringContaining("other users may read")] });
    } finally {
      chmodSync(workspace.folder, 0o700);
    }
  });
});
