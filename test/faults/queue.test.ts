/** Runs whose parts workers load: processes of their own, a queue on a server, and what dies meanwhile. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { verifyStores } from "../../src/index.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { describePostgres, postgresAdminUrl } from "../helpers/postgres-server.js";
import { createTargets, dumpOf, largeObjectsOf, query, SMALL_PARTS, unfinishedState } from "../helpers/runs.js";
import { fillPostgres } from "../helpers/sample-data.js";

describePostgres("runs whose parts workers load", () => {
  let workspace: Workspace;
  let targets: Awaited<ReturnType<typeof createTargets>>;
  let source: string;
  let queue: string;
  const started = new Set<ChildProcess>();

  beforeAll(async () => {
    workspace = createWorkspace();
    writeFileSync(workspace.path("config.toml"), config);
    targets = await createTargets(postgresAdminUrl(), workspace);
    source = await targets.next();
    await fillPostgres(source, { records: 120, contentSizes: [1048576, 9, 1048577] });
    queue = await targets.next();
  }, 120_000);
  afterEach(async () => {
    for (const child of started)
      if (child.exitCode === null && child.signalCode === null) await ended(child, "SIGKILL");
    started.clear();
  });
  afterAll(async () => {
    await targets?.drop();
    workspace?.[Symbol.dispose]();
  });

  const env = (target: string) => ({ ...SMALL_PARTS, SRC_URL: source, DST_URL: target, ...settings() });
  const settings = () => ({ LLMSPELL_CONFIG: workspace.path("config.toml") });
  const config = '[stores.src]\nurl_env = "SRC_URL"\n[stores.dst]\nurl_env = "DST_URL"\n';

  function start(target: string, args: readonly string[]): ChildProcess {
    const child = workspace.start(args, { env: env(target) });
    started.add(child);
    return child;
  }
  const worker = (target: string, ...args: string[]): ChildProcess => {
    const child = start(target, ["storage", "worker", "--queue", queue, ...args]);
    child.stdout?.resume();
    child.stderr?.resume();
    return child;
  };
  const coordinator = (target: string, command = "migrate", ...args: string[]): ChildProcess =>
    start(target, ["storage", command, "--from", "src", "--to", "dst", "--queue", queue, "--json", ...args]);
  async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    const closed = once(child, "exit");
    child.kill(signal);
    await closed;
  }
  async function loadedParts(target: string, least: number): Promise<void> {
    for (;;) {
      const rows = await query<{ parts: number }>(target, "SELECT count(*)::int4 AS parts FROM llmspell.storage_parts");
      if ((rows[0]?.parts ?? 0) >= least) return;
    }
  }
  async function same(target: string): Promise<void> {
    expect((await verifyStores({ a: source, b: target })).identical).toBe(true);
    expect(await unfinishedState(target)).toBeUndefined();
    expect(await largeObjectsOf(target)).toBe(await largeObjectsOf(source));
    expect(dumpOf(target, true)).toBe(dumpOf(source, true));
  }

  it("load everything with two workers, one of which is killed and one of which comes late", async () => {
    const target = await targets.next();
    const first = worker(target);
    const run = coordinator(target);
    const outcome = outcomeOf(run);
    await loadedParts(target, 3);
    await ended(first, "SIGKILL");
    const second = worker(target, "--jobs", "2");
    expect(await outcome).toMatchObject({ status: 0 });
    await same(target);
    const closed = once(second, "exit");
    second.kill("SIGTERM");
    expect(await closed).toEqual([0, null]);
  });
});
