/** What the tests of plugins share: a filled SQLite file, its export, and ways to export it through a plugin. */
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect } from "vitest";
import { exportStore, StorageError, type TransformDefinition } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Outcome, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";

// biome-ignore lint/suspicious/noExplicitAny: documents hold any section
export type Data = Record<string, any>;

export let workspace: Workspace;
/** 12 records of each kind. */
export let source: string;
/** The export of `source`. */
export let document: string;
let names = 0;
export const fresh = (suffix: string): string => workspace.path(`${++names}${suffix}`);
export const read = (path: string): string => readFileSync(path, "utf8");
export const dataText = (path: string): string => read(path).slice(read(path).indexOf('"data"'));
export const dataOf = (path: string): Data => (JSON.parse(read(path)) as { data: Data }).data;

/** Registers what makes and removes them. */
export function usePluginFixture(): void {
  beforeAll(async () => {
    workspace = createWorkspace();
    source = workspace.path("source.db");
    createLlmspellSqlite(source);
    fillSqlite(source, { records: 12, contentSizes: [0, 10, 1_500_000] });
    document = workspace.path("document.json");
    await workspace.must(["storage", "export", "--database", source, "--output", document]);
  });
  afterAll(() => workspace[Symbol.dispose]());
}

/** Exports through a definition, by the library. */
export async function exportThrough(
  definition: TransformDefinition,
  more: Partial<Parameters<typeof exportStore>[0]> = {},
): Promise<string> {
  const to = fresh(".json");
  await exportStore({ from: source, to, transforms: [{ type: "plugin", module: definition }], ...more });
  return to;
}

/** Writes a plugin's module and exports through it, by the command line. */
export async function runPlugin(module: string, ...words: string[]): Promise<Outcome & { readonly output: string }> {
  const [path, output] = [fresh(".mjs"), fresh(".json")];
  writeFileSync(path, module);
  const run = ["storage", "export", "--database", source, "--output", output, "--plugin", path, ...words];
  return { ...(await workspace.run(run)), output };
}

export async function errorOf(run: Promise<unknown>): Promise<StorageError> {
  const error = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StorageError);
  return error as StorageError;
}

export const KINDS = { sections: ["kv_store"] } as const;
