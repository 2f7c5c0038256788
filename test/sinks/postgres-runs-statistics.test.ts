/** Runs: in which order their sections come, and the planner's statistics that they leave. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import {
  exportStore,
  type ImportOptions,
  importStore,
  migrateDatabase,
  type Transform,
  verifyStores,
} from "../../src/index.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { createRunStage } from "../helpers/run-stage.js";
import { query } from "../helpers/runs.js";

/** Of the tables that have records: whether the statistics are those of all of them. */
const STATISTICS = `
  SELECT c.relname AS table, s.stainherit AS inherited, c.reltuples::int8 AS rows,
    (SELECT n FROM pg_catalog.json_to_record(
      (pg_catalog.xpath('/row/j/text()', pg_catalog.query_to_xml(pg_catalog.format('SELECT json_build_object(''n'', count(*)) AS j FROM %s', c.oid::regclass), false, true, '')))[1]::text::json) AS x (n int8)) AS count
  FROM pg_catalog.pg_class c LEFT JOIN LATERAL (SELECT DISTINCT stainherit FROM pg_catalog.pg_statistic WHERE starelid = c.oid) s ON true
  WHERE c.relnamespace = 'llmspell'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname !~ '^storage_'`;

const STEP: Transform = {
  name: "nothing",
  apply: (batches) => batches,
};

describePostgres("a run with several jobs", () => {
  const stage = createRunStage({ records: 40, counts: { event_log: 900, kv_store: 300 }, contentSizes: [1048576, 9] });
  const run = (to: string, options: Partial<ImportOptions>) =>
    importStore({ from: stage.document, to, jobs: 2, ...options });

  /** The sections in the order in which their first parts were begun. */
  const sectionsOf = async (url: string): Promise<string[]> => {
    const sql = "SELECT section FROM llmspell.storage_parts GROUP BY section ORDER BY min(part)";
    return (await query<{ section: string }>(url, sql)).map(({ section }) => section);
  };

  /** Tables whose statistics are not those of all records. */
  const stale = async (url: string): Promise<unknown[]> => {
    const rows = await query<{ table: string; inherited: boolean | null; rows: string; count: string }>(
      url,
      STATISTICS,
    );
    expect(rows.filter(({ count }) => count !== "0").length).toBeGreaterThan(10);
    return rows.filter(({ inherited, rows: known, count }) => count !== "0" && (inherited === null || known !== count));
  };

  it("takes first what leaves the server the most to do, behind a smaller section, and leaves statistics of all tables", async () => {
    const { workspace, targets, source, document } = stage;
    await query(source, "ANALYZE");
    const sqlite = workspace.path("source.db");
    await migrateDatabase(sqlite);
    await importStore({ from: source, to: sqlite });
    await exportStore({ from: source, to: workspace.path("source/"), partBytes: 20_000 });
    for (const from of [source, sqlite, workspace.path("source/")]) {
      const target = await targets.next();
      await run(target, { from, exclude: ["vector_embeddings"] });
      const sections = await sectionsOf(target);
      expect(sections.slice(0, 2), from).toEqual(["kv_store", "event_log"]);
      expect(sections.length, from).toBe(11);
      expect(await stale(target), from).toEqual([]);
      expect((await verifyStores({ a: document, b: target, exclude: ["vector_embeddings"] })).identical).toBe(true);
    }
  });

  it("takes the sections as they come where a step may depend on it", async () => {
    const { targets, source } = stage;
    const [untouched, target] = [await targets.next(), await targets.next()];
    const options = { from: source, transforms: [STEP], cascade: false };
    await run(target, { ...options });
    await importStore({ ...options, to: untouched });
    const sections = await sectionsOf(target);
    expect(sections.indexOf("event_log")).toBeGreaterThan(sections.indexOf("artifacts.content"));
    expect(await stale(target)).toEqual([]);
    expect((await verifyStores({ a: untouched, b: target })).identical).toBe(true);
  });

  it("makes statistics once more of a section that comes again behind others", async () => {
    const { workspace, targets, source, document } = stage;
    const folder = workspace.path("again/");
    await exportStore({ from: source, to: folder, partBytes: 100_000 });
    const manifest = JSON.parse(readFileSync(`${folder}manifest.json`, "utf8"));
    const isOf = (path: string) => (file: { sections: object }) => path in file.sections;
    const events = manifest.files.filter(isOf("event_log"));
    expect(events.length).toBeGreaterThan(1);
    const others = manifest.files.filter((file: { sections: object }) => !isOf("event_log")(file));
    manifest.files = [...events.slice(1), ...others, events[0]];
    writeFileSync(`${folder}manifest.json`, JSON.stringify(manifest));
    const target = await targets.next();
    // With a step the files come as the manifest has them.
    await run(target, { from: folder, transforms: [STEP], cascade: false });
    expect(await stale(target)).toEqual([]);
    expect((await verifyStores({ a: document, b: target })).identical).toBe(true);
  });

  it("has them also when it was interrupted and resumed", async () => {
    const { targets, document } = stage;
    for (const records of [400, 1500]) {
      const target = await targets.next();
      const controller = new AbortController();
      const { signal } = controller;
      const onProgress: ImportOptions["onProgress"] = (progress) =>
        void (progress.records >= records && controller.abort());
      await expect(run(target, { signal, onProgress })).rejects.toMatchObject({ code: "E_INTERRUPTED" });
      await importStore({ from: document, to: target, resume: true });
      expect(await stale(target)).toEqual([]);
      expect((await verifyStores({ a: document, b: target })).identical).toBe(true);
    }
  });
});
