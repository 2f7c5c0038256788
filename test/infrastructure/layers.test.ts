import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { type Import, refusedImports } from "./refused-imports.js";

const root = fileURLToPath(new URL("../../", import.meta.url));

const forbidden: Import[] = [
  { file: "src/commands/a.ts", imports: "../cli.js" },
  { file: "src/pipeline.ts", imports: "./commands/export.js" },
  { file: "src/pipeline.ts", imports: "./backends/postgres/connection.js" },
  { file: "src/llmspell/schema/a.ts", imports: "../../config/index.js" },
  { file: "src/llmspell/postgres/a.ts", imports: "../../stores/index.js" },
  { file: "src/llmspell/a.ts", imports: "../index.js" },
  { file: "src/llmspell/sqlite/a.ts", imports: "better-sqlite3" },
  { file: "src/llmspell/catalog/a.ts", imports: "../../backends/postgres/session/connection.js" },
  { file: "src/sources/a.ts", imports: "../sinks/sink.js" },
  { file: "src/sources/nested/a.ts", imports: "../../sinks/sink.js" },
  { file: "src/sources/a.ts", imports: "pg" },
  { file: "src/sinks/a.ts", imports: "../pipeline.js" },
  { file: "src/document/reading/a.ts", imports: "../../pipeline.js" },
  { file: "src/transforms/jq/real/a.ts", imports: "../../../index.js" },
  { file: "src/backends/postgres/a.ts", imports: "../sqlite/connection.js" },
  { file: "src/backends/postgres/a.ts", imports: "../../sources/source.js" },
  { file: "src/backends/postgres/a.ts", imports: "better-sqlite3" },
  { file: "src/backends/postgres/reading/a.ts", imports: "../../../config/index.js" },
  { file: "src/backends/postgres/reading/a.ts", imports: "../../sqlite/open.js" },
  { file: "src/backends/sqlite/loading/a.ts", imports: "../../../stores/index.js" },
  { file: "src/backends/sqlite/a.ts", imports: "../postgres/connection.js" },
  { file: "src/backends/sqlite/a.ts", imports: "pg-copy-streams" },
  { file: "src/document/a.ts", imports: "../backends/sqlite/connection.js" },
  { file: "src/codecs/a.ts", imports: "../document/scanner.js" },
  { file: "src/records/a.ts", imports: "../sources/source.js" },
  { file: "src/catalog/a.ts", imports: "../codecs/index.js" },
  { file: "src/errors.ts", imports: "./catalog/index.js" },
  { file: "src/stores/index.ts", imports: "@electric-sql/pglite/vector" },
  { file: "src/stores/a.ts", imports: "../api/transfer.js" },
  { file: "src/stores/a.ts", imports: "../commands/export.js" },
  { file: "src/api/a.ts", imports: "../commands/export.js" },
  { file: "src/config/a.ts", imports: "../stores/index.js" },
  { file: "src/sources/a.ts", imports: "../stores/index.js" },
  { file: "src/sinks/a.ts", imports: "../api/transfer.js" },
  { file: "src/pipeline.ts", imports: "./stores/index.js" },
  { file: "src/reports/a.ts", imports: "../commands/verify.js" },
  { file: "src/reports/a.ts", imports: "pg" },
  { file: "src/api/a.ts", imports: "../reports/report.js" },
  { file: "src/verify/comparison/a.ts", imports: "../../api/transfer.js" },
  { file: "src/pipeline.ts", imports: "./verify/digest.js" },
];

/** The engine knows nothing of llmspell (engine.test.ts builds it without). */
const ENGINE = [
  "src/pipeline.ts",
  "src/folders.ts",
  "src/sources/engine.ts",
  "src/sinks/engine.ts",
  "src/transforms/plugin/engine.ts",
  "src/backends/postgres/loading/engine.ts",
  "src/backends/sqlite/reading/engine.ts",
  "src/backends/pglite/engine.ts",
  "src/document/reading/engine.ts",
  "src/records/engine.ts",
  "src/codecs/engine.ts",
  "src/catalog/engine.ts",
];
for (const file of ENGINE)
  forbidden.push({ file, imports: `${"../".repeat(file.split("/").length - 2) || "./"}llmspell/catalog/index.js` });

const allowed: readonly Import[] = [
  { file: "src/llmspell/postgres/b.ts", imports: "../../backends/postgres/session/connection.js" },
  { file: "src/llmspell/b.ts", imports: "../sinks/sink.js" },
  { file: "src/llmspell/catalog/b.ts", imports: "../../catalog/index.js" },
  { file: "src/stores/b.ts", imports: "../llmspell/schema/migrator.js" },
  { file: "src/cli.ts", imports: "./commands/export.js" },
  { file: "src/commands/b.ts", imports: "../sources/postgres.js" },
  { file: "src/pipeline.ts", imports: "./sinks/sink.js" },
  { file: "src/sources/b.ts", imports: "../backends/postgres/connection.js" },
  { file: "src/sinks/b.ts", imports: "../sources/source.js" },
  { file: "src/backends/postgres/b.ts", imports: "pg" },
  { file: "src/backends/sqlite/b.ts", imports: "better-sqlite3" },
  { file: "src/backends/pglite/b.ts", imports: "@electric-sql/pglite-pgvector" },
  { file: "src/document/b.ts", imports: "../codecs/index.js" },
  { file: "src/codecs/b.ts", imports: "../records/byte-writer.js" },
  { file: "src/catalog/b.ts", imports: "./index.js" },
  { file: "src/sources/b.ts", imports: "../errors.js" },
  { file: "src/stores/b.ts", imports: "../sinks/postgres.js" },
  { file: "src/api/b.ts", imports: "../stores/index.js" },
  { file: "src/reports/b.ts", imports: "../api/results.js" },
  { file: "src/commands/files/b.ts", imports: "../../reports/report.js" },
  { file: "src/api/verification/b.ts", imports: "../../verify/digest.js" },
  { file: "src/stores/b.ts", imports: "../verify/findings.js" },
];

describe("the layers", () => {
  /** "file -> import" of every import that the lint rule refuses. */
  let refused: Set<string>;

  beforeAll(() => {
    refused = refusedImports([...forbidden, ...allowed]);
  });

  it.each(forbidden)("$file may not import $imports", ({ file, imports }) => {
    expect(refused).toContain(`${file} -> ${imports}`);
  });

  it.each(allowed)("$file may import $imports", ({ file, imports }) => {
    expect(refused).not.toContain(`${file} -> ${imports}`);
  });
});

describe("what differs from backend to backend", () => {
  it("is asked of the list in src/stores, and nowhere decided by a backend's name", () => {
    const asking = ["src/api", "src/commands"].flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((name) => name.endsWith(".ts"))
        .map((name) => join(folder, name)),
    );
    expect(asking.length).toBeGreaterThan(20);
    const deciding = [...asking, "src/stores/index.ts", "src/pipeline.ts"].filter((file) =>
      /"(sqlite|postgres|postgresql|pglite)"|location\.type (===|!==) "/.test(readFileSync(join(root, file), "utf8")),
    );
    expect(deciding).toEqual([]);
  });
});
