/** Runs that two workers load, again and again: a source, a queue, and as many targets as there are moments. */
import type { ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { expect } from "vitest";
import { verifyStores } from "../../src/index.js";
import { outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { type Moment, momentNumbers, type RunClock, timed } from "../helpers/moments.js";
import {
  changeSource,
  createTargets,
  dumpOf,
  largeObjectsOf,
  leftOfRuns,
  query,
  recordsOf,
  SMALL_PARTS,
  unfinishedState,
  useFurther,
} from "../helpers/runs.js";
import { fillPostgres } from "../helpers/sample-data.js";

const RECORDS = 36;

/** Where a process finds the stores and the queue. */
export interface Side {
  readonly env: Readonly<Record<string, string>>;
  readonly queue: string;
}

export interface StageOptions {
  readonly workspace: Workspace;
  /** The processes that it starts, which its user ends. */
  readonly started: Set<ChildProcess>;
  /** So many moments, from FAULT_FIRST on. */
  readonly times: number;
  /** Whether the targets have rows: what one job makes of them is what the run is to make. */
  readonly merging: boolean;
}

/** All of it is on one server. */
export async function createStage(adminUrl: string, { workspace, started, times, merging }: StageOptions) {
  const targets = await createTargets(adminUrl, workspace);
  const [source, queue] = [await targets.next(), await targets.next()];
  await fillPostgres(source, { records: RECORDS, contentSizes: [1048576, 9, 1048577] });
  const template = merging ? await targets.next() : targets.template;
  if (merging) {
    await workspace.must(["storage", "migrate", "--from", source, "--to", template]);
    await useFurther(template);
  }
  const byOneJob = async (): Promise<string> => {
    const url = await targets.next(template);
    await workspace.must(["storage", "migrate", "--from", source, "--to", url]);
    return url;
  };
  let expected = await byOneJob();
  const schema = dumpOf(expected, true);
  const names = ["first", ...momentNumbers(times).map((number) => `dst${number}`)];

  function side(name: string, through = (url: string): string => url): Side {
    const stores = [["src", source], ...names.map((each) => [each, targets.named(each)])] as [string, string][];
    const config = workspace.path(`${name}.toml`);
    writeFileSync(config, stores.map(([store, url]) => `[stores.${store}]\nurl = "${through(url)}"\n`).join(""));
    return { env: { ...SMALL_PARTS, LLMSPELL_CONFIG: config }, queue: through(queue) };
  }
  function start({ env }: Side, args: readonly string[]): ChildProcess {
    const child = workspace.start(args, { env });
    started.add(child);
    return child;
  }
  function silent(child: ChildProcess): ChildProcess {
    child.stdout?.resume();
    child.stderr?.resume();
    return child;
  }
  const direct = side("direct");
  const coordinator = (
    name: string,
    { command = "migrate", at = direct }: { command?: "migrate" | "resume"; at?: Side } = {},
  ): ChildProcess => start(at, ["storage", command, "--from", "src", "--to", name, "--queue", at.queue, "--quiet"]);

  /** It is what one job makes of it: all of the source is there, once, with every index, trigger and large object. */
  async function expectLoaded(target: string): Promise<void> {
    expect((await verifyStores({ a: merging ? expected : source, b: target })).identical).toBe(true);
    const [sum] = await query<{ records: string }>(
      target,
      "SELECT sum(records) AS records FROM llmspell.storage_parts WHERE digest IS DISTINCT FROM 'merged'",
    );
    expect(Number(sum?.records)).toBe(await recordsOf(source));
    expect(dumpOf(target, true)).toBe(schema);
    expect(await largeObjectsOf(target)).toBe(await largeObjectsOf(expected));
    expect(await leftOfRuns(target)).toEqual([]);
  }

  /** Brings the run to its end, whatever of it is left. */
  async function finish(name: string): Promise<void> {
    const target = targets.named(name);
    for (let attempt = 1; ; attempt++) {
      const state = await unfinishedState(target);
      const rows = await query(target, "SELECT FROM llmspell.storage_runs WHERE state = 'done'");
      if (state === undefined && rows.length > 0) break;
      const command = state === undefined ? "migrate" : "resume";
      const { status, stderr } = await outcomeOf(coordinator(name, { command }));
      if (status !== 0 && attempt === 3) throw new Error(stderr);
    }
    await expectLoaded(target);
  }

  const stage = {
    template,
    side,
    coordinator,
    silent,
    finish,
    async changeSource(mark: string): Promise<void> {
      await changeSource(source, mark);
      if (merging) await targets.remove(expected);
      if (merging) expected = await byOneJob();
    },
    /** Two of them, or as many as are wanted. */
    workers: (count = 2, at = direct): ChildProcess[] =>
      Array.from({ length: count }, () => silent(start(at, ["storage", "worker", "--queue", at.queue]))),
    async target(moment: Moment): Promise<{ name: string; url: string }> {
      const name = `dst${moment.number}`;
      await targets.make(targets.named(name), template);
      return { name, url: targets.named(name) };
    },
    /** Nothing of the run stays behind: jobs of a database that has gone would be tried for hours. */
    async leave(url: string): Promise<void> {
      await query(queue, "DELETE FROM llmspell_queue.job");
      await targets.remove(url);
    },
    async clock(): Promise<RunClock> {
      const target = targets.named("first");
      await targets.make(target, template);
      const clock = await timed(target, silent(coordinator("first")));
      await expectLoaded(target);
      await this.leave(target);
      return clock;
    },
    drop: () => targets.drop(),
  };
  return stage;
}
