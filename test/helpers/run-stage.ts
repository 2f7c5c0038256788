/** What tests of runs begin with: a folder, databases that are migrated, and one that has records, with a document of it. */
import { afterAll, beforeAll } from "vitest";
import { exportStore } from "../../src/index.js";
import { createWorkspace, type Workspace } from "./llmspell.js";
import { postgresAdminUrl } from "./postgres-server.js";
import { createTargets, SMALL_PARTS } from "./runs.js";
import { fillPostgres } from "./sample-data.js";
import type { SampleOptions } from "./sample-records.js";

export interface RunStage {
  readonly workspace: Workspace;
  readonly targets: Awaited<ReturnType<typeof createTargets>>;
  /** A database's URL. */
  readonly source: string;
  /** The path of an export of it. */
  readonly document: string;
}

/** Made before the tests of the suite, and removed behind them. Parts of runs in this process are small meanwhile. */
export function createRunStage(sample: SampleOptions): RunStage {
  const stage: { -readonly [Name in keyof RunStage]?: RunStage[Name] } = {};
  beforeAll(async () => {
    Object.assign(process.env, SMALL_PARTS);
    stage.workspace = createWorkspace();
    stage.targets = await createTargets(postgresAdminUrl(), stage.workspace);
    stage.source = await stage.targets.next();
    await fillPostgres(stage.source, sample);
    stage.document = stage.workspace.path("source.json");
    await exportStore({ from: stage.source, to: stage.document });
  }, 120_000);
  afterAll(async () => {
    for (const name of Object.keys(SMALL_PARTS)) delete process.env[name];
    await stage.targets?.drop();
    stage.workspace?.[Symbol.dispose]();
  });
  // Whole when the first test asks for it.
  return stage as RunStage;
}
