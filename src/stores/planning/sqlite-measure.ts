/** How fast records go into an SQLite file here, by some of them: a load into a new file beside the target, which is removed. */
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { createCatalog } from "../../catalog/index.js";
import { createOwned } from "../../document/files/owned-file.js";
import { migrateSqlite } from "../../llmspell/schema/migrator.js";
import { llmspellSqlite } from "../../llmspell/sqlite/application.js";
import type { LoadMeasure, LoadPlanOptions } from "../../records/loads/load-plan.js";
import { RecordBatch } from "../../records/record-batch.js";
import type { RunContext } from "../../records/run-context.js";
import { createSqliteSink } from "../../sinks/sqlite.js";

export async function measureSqliteLoad(
  path: string,
  { catalog: whole, signal }: Pick<LoadPlanOptions, "catalog" | "signal">,
): Promise<LoadMeasure> {
  // Some records without their parents.
  const catalog = createCatalog(whole.kinds.map((kind) => ({ ...kind, foreignKeys: [] })));
  const folder = await createOwned(path, "folder", ".measuring");
  const file = join(folder.path, "new.db");
  const remove = async (): Promise<void> => {
    await folder.release();
    await rm(folder.path, { recursive: true, force: true }).catch(() => {});
  };
  const context: RunContext = {
    signal,
    reject: async () => {},
    isRejected: () => false,
    warn: () => {},
    leftOut: () => {},
  };
  const sink = createSqliteSink({ path: file, ownFile: true, catalog, application: llmspellSqlite });
  try {
    await migrateSqlite(file, { signal });
    await sink.open({ backend: "sqlite", migrations: [], catalog }, context);
  } catch (error) {
    await sink.abort();
    await remove();
    throw error;
  }
  return {
    into: "a temporary file beside the target",
    async write({ kind, rows, bytes, starts, lengths, large, assumed }) {
      const own = catalog.byPath.get(kind.path);
      if (own === undefined) throw new Error(`${kind.path} is not in the catalog`);
      await sink.write(new RecordBatch(own, rows, bytes, starts, lengths, large, assumed));
    },
    settle: async () => {},
    secondsAtEnd: async () => 0,
    async finish(times) {
      const started = performance.now();
      await sink.finish();
      const handle = await open(file, "r+");
      await handle.sync().finally(() => handle.close());
      return ((performance.now() - started) / 1000) * times;
    },
    async close() {
      await sink.abort();
      await remove();
    },
  };
}
