/** What tests of runs begin with: a folder, databases that are migrated, and one that has records. */
import { afterAll, afterEach, beforeAll } from "vitest";
import { exportStore } from "../../src/index.js";
import { createWorkspace, type Workspace } from "./llmspell.js";
import { postgresAdminUrl } from "./postgres-server.js";
import { createQueueRuns } from "./queue.js";
import { createTargets, dumpOf, SMALL_PARTS, sorted, useFurther } from "./runs.js";
import { fillPostgres } from "./sample-data.js";
import type { SampleOptions } from "./sample-records.js";

interface Stage {
  readonly workspace: Workspace;
  readonly targets: Awaited<ReturnType<typeof createTargets>>;
  /** A database's URL. */
  readonly source: string;
}

export interface RunStage extends Stage {
  /** The path of an export of it. */
  readonly document: string;
}

export interface QueueStage extends Stage {
  /** The URL of the database that the queue is in. */
  readonly queue: string;
  readonly runs: ReturnType<typeof createQueueRuns>;
}

/** Makes it before the tests of the suite, and removes it behind them. It is whole when the first test asks for it. */
function createStage<More extends object>(sample: SampleOptions, more: (stage: Stage) => Promise<More>): Stage & More {
  const stage = {} as { -readonly [Name in keyof Stage]?: Stage[Name] };
  beforeAll(async () => {
    stage.workspace = createWorkspace();
    stage.targets = await createTargets(postgresAdminUrl(), stage.workspace);
    stage.source = await stage.targets.next();
    await fillPostgres(stage.source, sample);
    Object.assign(stage, await more(stage as Stage));
  });
  afterAll(async () => {
    await stage.targets?.drop();
    stage.workspace?.[Symbol.dispose]();
  });
  return stage as Stage & More;
}

/** Parts of runs in this process are small meanwhile. */
export function createRunStage(sample: SampleOptions): RunStage {
  beforeAll(() => void Object.assign(process.env, SMALL_PARTS));
  afterAll(() => {
    for (const name of Object.keys(SMALL_PARTS)) delete process.env[name];
  });
  return createStage(sample, async ({ workspace, source }) => {
    const document = workspace.path("source.json");
    await exportStore({ from: source, to: document });
    return { document };
  });
}

/** For runs whose parts workers load; those that a test leaves are ended behind it. */
export function createQueueStage(sample: SampleOptions): QueueStage {
  const stage = createStage(sample, async ({ workspace, targets, source }) => {
    const queue = await targets.next();
    return { queue, runs: createQueueRuns(workspace, { source, queue }) };
  });
  afterEach(() => stage.runs?.end());
  return stage;
}

export interface UsedStage {
  /** The URL of a database. */
  readonly source: string;
  /** The path of an export of it. */
  readonly document: string;
  /** A database that has been used since it got the source's records, and its dump. */
  readonly used: string;
  readonly before: string;
  /** What one job makes of it and the source. */
  readonly expected: string;
}

/** What a run is to merge, on the server of the targets. */
export async function createUsed(
  workspace: Workspace,
  targets: Stage["targets"],
  sample: SampleOptions,
): Promise<UsedStage> {
  const source = await targets.next();
  await fillPostgres(source, sample);
  const document = workspace.path("source.json");
  await workspace.must(["storage", "export", "--database", source, "--output", document]);
  const used = await targets.next();
  await workspace.must(["storage", "import", "--database", used, "--input", document]);
  await useFurther(used);
  const before = sorted(dumpOf(used));
  const expected = await targets.next(used);
  await workspace.must(["storage", "import", "--database", expected, "--input", document]);
  return { source, document, used, before, expected };
}
