/** What is loaded before the first record: every module costs a quarter of a millisecond, of every command and every program. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, expect, it } from "vitest";
import { builtLibrary } from "../helpers/llmspell.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const library = builtLibrary();
const folder = mkdtempSync(join(tmpdir(), "startup-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes the URLs of the modules that a process loaded to the file that LOADED names, when it ends. */
const hook = `
import { writeFileSync } from "node:fs";
import { registerHooks } from "node:module";
const loaded = new Set();
registerHooks({ load: (url, context, next) => (loaded.add(url), next(url, context)) });
process.on("exit", () => writeFileSync(process.env.LOADED, [...loaded].join("\\n")));
`;

/** What `node ARGS` loads, as paths below the package's root. */
function loadedBy(...args: string[]): string[] {
  const list = join(folder, "loaded.txt");
  const run = spawnSync(process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(hook)}`, ...args], {
    cwd: folder,
    env: { PATH: process.env["PATH"], HOME: folder, LOADED: list },
    encoding: "utf8",
  });
  expect(run.stderr).toBe("");
  expect(run.status).toBe(0);
  const base = pathToFileURL(root).href;
  return readFileSync(list, "utf8")
    .split("\n")
    .filter((url) => url.startsWith(base))
    .map((url) => url.slice(base.length));
}

const command = (...args: string[]): string[] => loadedBy(join(root, "dist/cli.js"), ...args, "--quiet");

/** Those that begin with one of the paths. */
const below = (modules: readonly string[], ...paths: string[]): string[] =>
  modules.filter((module) => paths.some((path) => module.startsWith(path)));

it("loads for an export out of SQLite no report, no retention, no second reader, and nothing of other backends", () => {
  const database = join(folder, "empty.db");
  expect(command("database", "migrate", "--database", database)).toContain("dist/llmspell/schema/migrator.js");
  const modules = command("storage", "export", "--database", database, "--output", join(folder, "out.json"));
  // What it does need is seen, so that what is not there says something.
  for (const needed of ["dist/sources/sqlite.js", "dist/sinks/json-document.js", "node_modules/better-sqlite3/"])
    expect(below(modules, needed)).not.toEqual([]);
  const wanted = new Set(["dist/backends/postgres/session/connection-parameters.js"]);
  const unneeded = below(
    modules,
    "dist/reports/",
    "dist/verify/",
    "dist/api/planning/",
    "dist/api/verification/",
    "dist/api/retention.js",
    "dist/api/runs/load-run.js",
    "dist/commands/files/",
    "dist/backends/postgres/",
    "dist/backends/pglite/",
    "dist/backends/sqlite/loading/",
    "dist/backends/sqlite/reading/table-runs.js",
    "dist/document/files/sorted-runs.js",
    "dist/document/reading/document-reader.js",
    "dist/document/reading/json-scanner.js",
    "dist/transforms/limit.js",
    "dist/transforms/key-set.js",
    "dist/transforms/referential/cascade",
    "dist/stores/findings.js",
    "dist/stores/postgres-facts.js",
    "dist/llmspell/schema/migrator.js",
    "node_modules/pg/",
    "node_modules/smol-toml/",
    "node_modules/zod/",
    "node_modules/jq-web/",
    "node_modules/@electric-sql/",
  );
  expect(unneeded.filter((module) => !wanted.has(module))).toEqual([]);
});

it("loads with the library what exports and imports need, and no server's driver", () => {
  const modules = loadedBy("--input-type=module", "-e", `await import(${JSON.stringify(library)})`);
  for (const needed of ["dist/api/transfer.js", "dist/llmspell/defaults.js"]) expect(modules).toContain(needed);
  expect(
    below(
      modules,
      "dist/reports/",
      "dist/commands/",
      "dist/verify/",
      "dist/api/planning/",
      "dist/api/verification/",
      "dist/api/retention.js",
      "dist/api/runs/load-run.js",
      "dist/stores/planning/",
      "dist/backends/sqlite/reading/table-runs.js",
      "dist/document/files/sorted-runs.js",
      "dist/backends/pglite/",
      "node_modules/pg/",
      "node_modules/smol-toml/",
      "node_modules/zod/",
    ),
  ).toEqual([]);
});
