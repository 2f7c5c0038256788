/** Each type's smallest step, by hand in the target: verify names section, key and field of each, and nothing else. */
import { copyFileSync } from "node:fs";
import Database from "better-sqlite3";
import * as sqliteVec from "sqlite-vec";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RecordKind } from "../../src/catalog/index.js";
import { importStore } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { VALUE_CASES } from "./cases.js";
import { changed, expected, prepare, removals, statements, temporaryFolder, verified } from "./changes.js";
import { contentOf, deleteOf, keyText, recordOf, type Sections, uuid, writeDocument } from "./records.js";

const folder = temporaryFolder();
afterAll(() => folder[Symbol.dispose]());

const { sections, changes, others } = prepare();
const original = folder.file("original.json");
const imported = folder.file("imported.db");

/** Runs statements in a copy of the imported database. */
function sqliteWith(name: string, ...sql: readonly string[]): string {
  const path = folder.file(name);
  copyFileSync(imported, path);
  const database = new Database(path);
  try {
    sqliteVec.load(database);
    database.pragma("foreign_keys = OFF");
    database.transaction(() => {
      for (const each of sql)
        expect([each.slice(0, 200), database.prepare(each).run().changes]).toEqual([each.slice(0, 200), 1]);
    })();
  } finally {
    database.close();
  }
  return path;
}

beforeAll(async () => {
  writeDocument(original, sections);
  await importStore({ from: original, to: imported });
});

const { removable, lastOf, removed } = removals(others);

it("there are at least sixty", () => {
  expect(VALUE_CASES.length).toBeGreaterThanOrEqual(60);
  const types = new Set(changes.map(({ kind, field }) => kind.fields.find(({ name }) => name === field)?.type));
  expect([...types].sort()).toEqual([
    "bool",
    "bytes",
    "int4",
    "int8",
    "json",
    "text",
    "text_array",
    "timestamp",
    "uuid",
    "vector",
  ]);
});

describe("SQLite", () => {
  it("is identical to the document that it was imported from", async () => {
    const { result, lines } = await verified({ a: original, b: imported });
    expect(lines).toEqual([]);
    expect(result).toMatchObject({ equal: true, identical: true });
    expect(result.sections.map(({ path, identical }) => [path, identical])).toEqual(
      [...sections].map(([path, records]) => [path, records.length]),
    );
  });

  it.each([
    ["the document", original],
    ["the database", imported],
  ])("every changed value, against %s", async (_name, a) => {
    const b = sqliteWith("changed.db", ...statements(changes, "sqlite"));
    const { result, lines } = await verified({ a, b });
    expect(lines).toEqual(expected(changes, "sqlite"));
    expect(result).toMatchObject({ equal: false, identical: false, findings: [] });
  });

  it("one byte of a large content", async () => {
    const content = contentOf(0);
    content[700_001] = (content[700_001] as number) ^ 1;
    const b = sqliteWith(
      "large.db",
      `UPDATE artifact_content SET data = X'${content.toString("hex")}' WHERE content_hash = 'hash-0000'`,
    );
    const { lines } = await verified({ a: imported, b });
    expect(lines).toEqual(["artifacts.content | tenant_id=acme, content_hash=hash-0000 | different | data"]);
  });

  it("removed and added records", async () => {
    const b = sqliteWith("removed.db", ...removable.toReversed().map((kind) => deleteOf(kind, lastOf(kind), "sqlite")));
    expect((await verified({ a: original, b })).lines).toEqual(removed("A"));
    expect((await verified({ a: b, b: original })).lines).toEqual(removed("B"));
  });
});

describe("documents", () => {
  const write = (name: string, records: Sections): string => {
    writeDocument(folder.file(name), records);
    return folder.file(name);
  };

  it("every changed value", async () => {
    const b = write("changed.json", changed(sections, changes));
    expect((await verified({ a: original, b })).lines).toEqual(expected(changes));
    expect((await verified({ a: b, b: imported })).lines).toEqual(expected(changes));
  });

  it("removed and added records", async () => {
    const less = new Map(
      [...sections].map(([path, records]) => [
        path,
        removable.some((kind) => kind.path === path) ? records.slice(0, -1) : records,
      ]),
    );
    const b = write("less.json", less);
    expect((await verified({ a: imported, b })).lines).toEqual(removed("A"));
    expect((await verified({ a: b, b: imported })).lines).toEqual(removed("B"));
  });

  it("another order of sections and of records is the same", async () => {
    const reversed = new Map([...sections].reverse().map(([path, records]) => [path, records.toReversed()]));
    const b = write("reversed.json", reversed);
    for (const options of [
      { a: original, b },
      { a: b, b: imported },
      { a: imported, b },
    ]) {
      const { result, lines } = await verified(options);
      expect(lines).toEqual([]);
      expect(result).toMatchObject({ identical: true, findings: [] });
    }
    const changedToo = write("reversed-changed.json", new Map([...changed(reversed, changes)]));
    expect((await verified({ a: imported, b: changedToo })).lines).toEqual(expected(changes));
  });

  it("a key that differs is a record of its own on either side", async () => {
    const event = catalog.byPath.get("event_log") as RecordKind;
    const record = lastOf(event);
    const other = { ...record, event_id: JSON.stringify(uuid("event_log", 99999)) };
    const b = write(
      "key.json",
      new Map(sections).set("event_log", [...(sections.get("event_log") ?? []).slice(0, -1), other]),
    );
    expect((await verified({ a: original, b })).lines).toEqual([
      `event_log | ${keyText(event, record)} | onlyInA | `,
      `event_log | ${keyText(event, other)} | onlyInB | `,
    ]);
  });

  it("a record that stands there twice is one too many", async () => {
    const kv = catalog.byPath.get("kv_store") as RecordKind;
    const b = write(
      "twice.json",
      new Map(sections).set("kv_store", [...(sections.get("kv_store") ?? []), recordOf(kv, 5)]),
    );
    const { lines } = await verified({ a: original, b });
    expect(lines).toEqual([`kv_store | ${keyText(kv, recordOf(kv, 5))} | onlyInB | `]);
  });
});
