import { afterAll, beforeEach, describe, expect, it } from "vitest";
import type { Rejection } from "../../src/records/run-context.js";
import { conflictCases, type Records } from "../conformance/conflict-cases.js";
import { failureOf, lines } from "../conformance/expectations.js";
import { createFolder, createMigrated, execute, kindOf, load, query, readAll, recordsOf } from "./sqlite-support.js";

describe("conflicts in SQLite", () => {
  const folder = createFolder();
  const path = folder.path("conflicts.db");
  afterAll(() => folder.remove());
  beforeEach(() => createMigrated(path));

  async function expectRows(rows: Records): Promise<void> {
    const { records } = await readAll(path);
    // Ids that applications choose keep the spelling in which they are stored.
    const usual = (line: string): string =>
      line.replace(
        /\\"([0-9A-F]{8})([0-9A-F]{4})([0-9A-F]{4})([0-9A-F]{4})([0-9A-F]{12})\\"/g,
        (_, ...digits) => `\\"${digits.slice(0, 5).join("-").toLowerCase()}\\"`,
      );
    const actual = lines(records.filter(({ kind }) => kind.path in rows)).map(usual);
    expect(actual.sort()).toEqual(lines(recordsOf(rows)).sort());
  }

  /** UUIDs in a spelling that is not ours. */
  function respell(paths: Iterable<string>): void {
    for (const each of paths) {
      const { sqlite, fields } = kindOf(each);
      const table = sqlite.layout === "vector" ? sqlite.metadataTable : sqlite.table;
      for (const { type, name, column } of fields)
        if (type === "uuid")
          execute(
            path,
            `PRAGMA foreign_keys = OFF; UPDATE ${table} SET ${column ?? name} = upper(replace(${column ?? name}, '-', ''))`,
          );
    }
  }

  for (const each of conflictCases) {
    const { name, existing, incoming, onConflict, refused = [], counts, rows } = each;

    for (const [how, batchSize, other] of [
      ["one at a time", 1, false],
      ["100 at a time", 100, false],
      ["other spellings in the target", 100, true],
    ] as const)
      it(`${name}, ${how}`, async () => {
        await load(path, recordsOf(existing));
        if (other) respell(Object.keys(existing));
        const rejections: Rejection[] = [];
        const { report } = await load(path, recordsOf(incoming), { onConflict, rejections, batchSize });
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
        for (const [kind, [inserted, updated, skipped]] of Object.entries(counts))
          expect([kind, report.counts.get(kind) ?? 0]).toEqual([kind, { inserted, updated, skipped, dropped: 0 }]);
        await expectRows(rows);
        expect(query(path, "SELECT name FROM sqlite_master WHERE name LIKE 'llmspell_load%'")).toEqual([]);
        expect(query(path, "PRAGMA foreign_key_check")).toEqual([]);
      });

    if (refused.length > 0)
      it(`${name}, stopping`, async () => {
        await load(path, recordsOf(existing));
        const error = await failureOf(load(path, recordsOf(incoming), { onConflict }));
        expect(refused).toContainEqual(
          expect.objectContaining({ code: error.code, section: error.context.section, key: error.context.key }),
        );
        const paths = new Set([...Object.keys(existing), ...Object.keys(incoming)]);
        await expectRows(Object.fromEntries([...paths].map((kind) => [kind, existing[kind] ?? []])));
      });
  }
});
