import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { Rejection } from "../../src/records/run-context.js";
import { conflictCases, type Records } from "../conformance/conflict-cases.js";
import { failureOf } from "../conformance/expectations.js";
import { CLEAR_POSTGRES } from "../conformance/postgres-store.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { expectedRows, load, recordsOf, rowsOf, sql } from "./postgres-support.js";

describePostgres("conflicts in PostgreSQL", () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createDatabase("llmspell");
  });
  afterAll(() => database.drop());

  beforeEach(() => sql(database.url, CLEAR_POSTGRES));

  async function expectRows(rows: Records): Promise<void> {
    for (const [path, expected] of Object.entries(rows))
      expect(await rowsOf(database.url, path)).toEqual(await expectedRows(database.url, path, expected));
  }

  for (const each of conflictCases) {
    const { name, existing, incoming, onConflict, refused = [], counts, rows } = each;

    for (const batchSize of [1, 100])
      it(`${name}, ${batchSize} at a time`, async () => {
        await load(database.url, recordsOf(existing));
        const rejections: Rejection[] = [];
        const { report } = await load(database.url, recordsOf(incoming), { onConflict, rejections, batchSize });
        const told = rejections.map(({ error }) => ({
          code: error.code,
          section: error.context.section,
          key: error.context.key,
        }));
        expect(told).toEqual(refused.map(({ code, section, key }) => ({ code, section, key })));
        refused.forEach(({ names = [] }, i) => {
          const { message, context } = (rejections[i] as Rejection).error;
          for (const named of names) expect(`${message} ${context.detail}`).toContain(named);
        });
        for (const [path, [inserted, updated, skipped]] of Object.entries(counts))
          expect([path, report.counts.get(path)]).toEqual([path, { inserted, updated, skipped, dropped: 0 }]);
        await expectRows(rows);
      });

    if (refused.length > 0)
      it(`${name}, stopping`, async () => {
        await load(database.url, recordsOf(existing));
        const error = await failureOf(load(database.url, recordsOf(incoming), { onConflict }));
        expect(refused).toContainEqual(
          expect.objectContaining({ code: error.code, section: error.context.section, key: error.context.key }),
        );
        const paths = new Set([...Object.keys(existing), ...Object.keys(incoming)]);
        await expectRows(Object.fromEntries([...paths].map((path) => [path, existing[path] ?? []])));
      });
  }
});
