/** The disk of the target's server is full while a run loads and merges: a coded error; resumed when there is room, or undone. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { verifyStores } from "../../src/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { describePostgres, postgresAdminUrl } from "../helpers/postgres-server.js";
import { createTargets, dumpOf, query, SMALL_PARTS, sorted, unfinishedState, useFurther } from "../helpers/runs.js";
import { fillPostgres } from "../helpers/sample-data.js";
import { canMount, command, mountSmall, type SmallDisk } from "../helpers/small-disk.js";

const MINUTES = 60_000;
const ENV = { env: SMALL_PARTS };
/** KiB that are left: for some of the parts, for all of them but not for the merges. With less the server lets nobody connect. */
const LEFT = [2000, 9000, 14_000];

describePostgres("a run whose target's disk is full", () => {
  let workspace: Workspace;
  let targets: Awaited<ReturnType<typeof createTargets>>;
  let document: string;
  let used: string;
  let before: string;
  let expected: string;

  beforeAll(async () => {
    workspace = createWorkspace();
    targets = await createTargets(postgresAdminUrl(), workspace);
    const source = await targets.next();
    await fillPostgres(source, {
      records: 100,
      contentSizes: [1048576, 9, 2 * 1048576, 1048577],
      counts: { kv_store: 2000, agent_states: 2000 },
      padding: 1000,
    });
    document = workspace.path("source.json");
    await workspace.must(["storage", "export", "--database", source, "--output", document]);
    used = await targets.next();
    await workspace.must(["storage", "import", "--database", used, "--input", document]);
    await useFurther(used);
    before = sorted(dumpOf(used));
    expected = await targets.next(used);
    await workspace.must(["storage", "import", "--database", expected, "--input", document]);
  }, 2 * MINUTES);
  afterAll(async () => {
    await targets?.drop();
    workspace?.[Symbol.dispose]();
  });

  it.runIf(canMount).each(LEFT.flatMap((left) => (["resume", "undo"] as const).map((way) => [left, way] as const)))(
    "%i KiB left: %s",
    async (left, way) => {
      using small = mountSmall(300) as SmallDisk;
      const folder = join(small.folder, "tablespace");
      mkdirSync(folder);
      expect(command("chown", "-R", "postgres", small.folder)).toBe(true);
      const name = `full_${process.pid}`;
      await query(postgresAdminUrl(), `CREATE TABLESPACE ${name} LOCATION '${folder}'`);
      const target = await targets.next(used);
      try {
        await query(postgresAdminUrl(), `ALTER DATABASE ${new URL(target).pathname.slice(1)} SET TABLESPACE ${name}`);
        small.fill(left);
        const load = ["storage", "import", "--database", target, "--input", document, "--jobs", "3"];
        const { status, stderr } = await workspace.run(load, ENV);
        expect(stderr).toContain("[E_DISK_FULL]");
        expect(status).toBe(1);
        const again = ["storage", way, "--database", target, ...(way === "resume" ? ["--input", document] : [])];
        // The disk is still full: it says so again, or does not need the room; or nothing was begun, or nobody may connect.
        const still = await workspace.run(again, ENV);
        if (still.status !== 0) expect(still.stderr).toMatch(/\[E_(DISK_FULL|USAGE)\]|could not write init file/);
        rmSync(join(small.folder, "ballast"));
        if ((await unfinishedState(target)) !== undefined) await workspace.must(again, ENV);
        else if (still.status !== 0 && way === "resume") await workspace.must(load, ENV);
        expect(await unfinishedState(target)).toBeUndefined();
        if (way === "undo") expect(sorted(dumpOf(target))).toBe(before);
        else expect((await verifyStores({ a: expected, b: target })).identical).toBe(true);
        const lost = await query(
          target,
          "SELECT oid FROM pg_largeobject_metadata m WHERE NOT EXISTS (SELECT FROM llmspell.artifact_content c WHERE c.large_object_oid = m.oid)",
        );
        expect(lost).toEqual([]);
      } finally {
        await targets.remove(target);
        await query(postgresAdminUrl(), `DROP TABLESPACE ${name}`);
      }
    },
    2 * MINUTES,
  );
});
