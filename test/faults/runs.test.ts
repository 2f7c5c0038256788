/** What dies in the middle of a run: resumed, the target holds what the source does; undone, it is as it was before. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { verifyStores } from "../../src/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { atMoments, type Moment, type RunClock, reach, stateOf, timed, timeLimit } from "../helpers/moments.js";
import { startPostgresCluster } from "../helpers/postgres-cluster.js";
import { describePostgres, postgresAdminUrl, sessionsEnd } from "../helpers/postgres-server.js";
import { ended } from "../helpers/queue.js";
import {
  changeSource,
  createTargets,
  doAsOthers,
  dumpOf,
  killed,
  largeObjectsOf,
  query,
  recordsOf,
  SMALL_PARTS,
  startNetwork,
  undoAsOthers,
  unfinishedState,
} from "../helpers/runs.js";
import { fillPostgres } from "../helpers/sample-data.js";
import { scaled } from "../helpers/scale.js";

/** RUN_FAULTS=5: a hundred of each, twenty undone. */
const MORE = Number(process.env["RUN_FAULTS"] ?? 1);
const KILLS = scaled(2, 20 * MORE);
const UNDONE = scaled(1, 4 * MORE);
const CUTS = scaled(1, 20 * MORE);
const SESSIONS = scaled(0, 20 * MORE);
const CRASHES = scaled(1, 20 * MORE);

const ENV = { env: SMALL_PARTS };

describePostgres("a run of which something dies", () => {
  let workspace: Workspace;
  let targets: Awaited<ReturnType<typeof createTargets>>;
  let source: string;
  let document: string;
  let before: string;
  /** After an import by one job. */
  let schema: string;
  let largeObjects: string;
  let clock: RunClock;

  beforeAll(async () => {
    workspace = createWorkspace();
    targets = await createTargets(postgresAdminUrl(), workspace);
    source = await targets.next();
    await fillPostgres(source, { records: 36, contentSizes: [1048576, 9, 2 * 1048576, 1048577] });
    document = workspace.path("source.json");
    await workspace.must(["storage", "export", "--database", source, "--output", document]);
    const alone = await targets.next();
    before = dumpOf(alone);
    await workspace.must(["storage", "import", "--database", alone, "--input", document]);
    schema = dumpOf(alone, true);
    largeObjects = await largeObjectsOf(alone);
    const target = await targets.next();
    clock = await timed(target, started(importInto(target)));
    await expectLoaded(target, document);
  });
  afterAll(async () => {
    await targets?.drop();
    workspace?.[Symbol.dispose]();
  });

  type Words = (target: string) => string[];
  /** Indexes are dropped and built again, HNSW among them, however few the rows. */
  const jobs = ["--jobs", "3", "--defer-indexes", "always"];
  const importInto: Words = (url) => ["storage", "import", "--database", url, "--input", document, ...jobs];
  const resume: Words = (url) => ["storage", "resume", "--database", url, "--input", document];
  const undo: Words = (url) => ["storage", "undo", "--database", url];
  const migrateInto: Words = (url) => ["storage", "migrate", "--from", source, "--to", url, ...jobs];
  const resumeFrom: Words = (url) => ["storage", "resume", "--from", source, "--to", url];

  function started(words: readonly string[]): ChildProcess {
    const child = workspace.start(words, ENV);
    child.stdout?.resume();
    child.stderr?.resume();
    return child;
  }

  /** All of the source is there, once, with every index, trigger and large object. */
  async function expectLoaded(url: string, from: string, like = schema): Promise<void> {
    expect((await verifyStores({ a: from, b: url })).identical).toBe(true);
    expect(dumpOf(url, true)).toBe(like);
    expect(await largeObjectsOf(url)).toBe(largeObjects);
    expect(await unfinishedState(url)).toBeUndefined();
    const [sum] = await query<{ records: string }>(url, "SELECT sum(records) AS records FROM llmspell.storage_parts");
    expect(Number(sum?.records)).toBe(await recordsOf(url));
  }

  /** What is to be done next, where there is something. It succeeds, unless a session of a dead process has done its last step meanwhile. */
  async function must(url: string, words: () => Promise<string[] | undefined>): Promise<string> {
    for (let next = await words(); ; ) {
      if (next === undefined) return "";
      const before = await stateOf(url);
      const { status, stderr } = await workspace.run(next, ENV);
      if (status === 0) return stderr;
      const after = await words();
      if (`${after}` === `${next}` && (await stateOf(url)) === before) throw new Error(stderr);
      next = after;
    }
  }

  /** Begins it anew where nothing of it is there, or goes on with it. */
  async function finish(url: string, begin: Words, goOn: Words): Promise<void> {
    await must(url, async () => {
      if ((await unfinishedState(url)) !== undefined) return goOn(url);
      return (await query(url, "SELECT FROM llmspell.storage_runs")).length === 0 ? begin(url) : undefined;
    });
  }

  it(
    `is resumed to its end after SIGKILL, ${KILLS} times, every other time from a source that has changed, no part twice`,
    () =>
      atMoments("SIGKILL", KILLS, async (moment) => {
        const target = await targets.next();
        const isOfStore = moment.number % 2 === 1;
        const [begin, goOn] = isOfStore ? [migrateInto, resumeFrom] : [importInto, resume];
        const child = started(begin(target));
        const at = await reach(moment, clock, target, child);
        await ended(child, "SIGKILL");
        // What is changed must not be of a run that a session of it is about to end.
        if (isOfStore) await sessionsEnd(target);
        const state = await stateOf(target);
        const isChanged = isOfStore && !state.startsWith("done");
        if (isChanged) await changeSource(source, `${moment.number} ${moment.random.uint32()}`);
        const again = moment.random.chance(0.3) ? moment.random.int(100, clock.begins + clock.ends) : 0;
        if (again > 0 && (await unfinishedState(target)) !== undefined) await killed(workspace, goOn(target), again);
        await finish(target, begin, goOn);
        await expectLoaded(target, isOfStore ? source : document);
        await targets.remove(target);
        return `${at}: ${state}${again > 0 ? `; resumed, killed after ${again} ms` : ""}${isChanged ? "; changed" : ""}`;
      }),
    timeLimit(KILLS),
  );

  it(
    `is undone after SIGKILL, ${UNDONE} times, also when the undoing is killed; what others did stays, and is named`,
    () =>
      atMoments("undo", UNDONE, async (moment) => {
        const target = await targets.next();
        const child = started(importInto(target));
        const at = await reach(moment, clock, target, child);
        await ended(child, "SIGKILL");
        const state = await stateOf(target);
        if (!state.startsWith("loading")) return `${at}: ${state}`;
        const others = moment.number % 2 === 1 ? await doAsOthers(target) : undefined;
        await killed(workspace, undo(target), moment.random.int(200, 1200));
        let said = "";
        const isUnfinished = async (): Promise<boolean> => (await unfinishedState(target)) !== undefined;
        if (await isUnfinished()) {
          said = await must(target, async () => ((await isUnfinished()) ? undo(target) : undefined));
          if (others === undefined) expect(said).not.toContain("Warning");
          if (said !== "") for (const key of others?.named ?? []) expect(said).toContain(key);
        }
        // A session of the dead process had ended the run.
        if ((await stateOf(target)).startsWith("done")) return `${at}: done after all`;
        if (others !== undefined) await undoAsOthers(target, others);
        expect(dumpOf(target)).toBe(before);
        await targets.remove(target);
        return `${at}: ${state}; ${others?.records ?? 0} of others${said === "" ? "" : "; undone twice"}`;
      }),
    timeLimit(UNDONE),
  );

  it("is taken over from a process that only stood still, which then loads nothing more", async () => {
    const target = await targets.next();
    // Held back, or it might be over before it is stopped.
    const child = workspace.start([...importInto(target), "--rate", "0.2"], ENV);
    const closed = once(child, "close") as Promise<[number | null]>;
    let errors = "";
    child.stdout?.resume();
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      errors += text;
    });
    const parts = async (): Promise<number> => (await query(target, "SELECT FROM llmspell.storage_parts")).length;
    while ((await parts()) < 3 && child.exitCode === null) await sleep(20);
    child.kill("SIGSTOP");
    expect(await unfinishedState(target)).toBe("loading");
    await workspace.must(resume(target), ENV);
    const loaded = await parts();
    child.kill("SIGCONT");
    const [status] = await closed;
    expect(status).not.toBe(0);
    expect(errors).toMatch(/\[E_(RUN_TAKEN|CONNECTION_LOST)\]/);
    expect(await parts()).toBe(loaded);
    await expectLoaded(target, document);
  });

  /** Starts it, has something done to it at the moment, and waits for its end: what it said where it failed. */
  async function struck(moment: Moment, url: string, words: readonly string[], strike: () => unknown) {
    const child = workspace.start(words, ENV);
    const closed = once(child, "close") as Promise<[number | null]>;
    let errors = "";
    child.stdout?.resume();
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      errors += text;
    });
    const at = await reach(moment, clock, url, child);
    await strike();
    const [status] = await closed;
    if (status !== 0) expect(errors).toMatch(/\[E_(CONNECTION_LOST|CONNECT)\]/);
    return { at: `${at}: ${await stateOf(url)}`, status };
  }

  it(
    `is resumed after the network was cut, ${CUTS} times`,
    () =>
      atMoments("network", CUTS, async (moment) => {
        const target = await targets.next();
        const network = await startNetwork(target);
        try {
          const { at } = await struck(moment, target, importInto(network.url(target)), () => network.cut());
          await finish(target, importInto, resume);
          await expectLoaded(target, document);
          await targets.remove(target);
          return at;
        } finally {
          await network.close();
        }
      }),
    timeLimit(CUTS),
  );

  it.runIf(SESSIONS > 0)(
    `is resumed after one of its sessions was ended, ${SESSIONS} times`,
    () =>
      atMoments("session", SESSIONS, async (moment) => {
        const target = await targets.next();
        const { at, status } = await struck(moment, target, importInto(target), () =>
          query(
            target,
            `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
             ORDER BY md5(pid::text || $1) LIMIT 1`,
            [String(moment.random.uint32())],
          ),
        );
        await finish(target, importInto, resume);
        await expectLoaded(target, document);
        await targets.remove(target);
        return `${at}; status ${status}`;
      }),
    timeLimit(SESSIONS),
  );

  it(
    `is resumed, a sixth of the times undone, after the server crashed, ${CRASHES} times`,
    async () => {
      const cluster = await startPostgresCluster({ settings: "full_page_writes = on\n" });
      try {
        const own = await createTargets(cluster.url, workspace);
        const alone = await own.next();
        await workspace.must(["storage", "import", "--database", alone, "--input", document]);
        const [empty, like] = [dumpOf(own.template), dumpOf(alone, true)];
        await atMoments("crash", CRASHES, async (moment) => {
          const target = await own.next();
          const { at } = await struck(moment, target, importInto(target), () => cluster.crash());
          const isUndone = moment.number % 6 === 5 && (await unfinishedState(target)) !== undefined;
          if (isUndone) {
            await workspace.must(undo(target));
            expect(dumpOf(target)).toBe(empty);
          } else {
            await finish(target, importInto, resume);
            await expectLoaded(target, document, like);
          }
          await own.remove(target);
          return `${at}${isUndone ? "; undone" : ""}`;
        });
      } finally {
        cluster.stop();
      }
    },
    timeLimit(CRASHES),
  );
});
