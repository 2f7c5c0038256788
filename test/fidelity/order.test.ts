/** Whatever order a document has, foreign keys hold at the commit; what has no parent is refused, dropped, or rejected with it. */
import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { failureOf } from "../conformance/expectations.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { describeWithTools } from "../helpers/system-tools.js";
import * as records from "./records.js";
import { type Fields, float32, id, MIB, type Sections } from "./records.js";
import { type Columns, columnsOf, expectSameRows, normalised, storedRows } from "./stored-rows.js";
import { createPostgresStore, createSqliteStore, documentText, load, type TestStore } from "./support.js";

const FAMILY: Sections = {
  "vector_embeddings.384": [1, 2].map((n) => records.vector(n, 384, float32(n))),
  "knowledge_graph.entities": [0, 5].map((since) => records.entity(1, since)),
  "knowledge_graph.relationships": [records.relationship(1, 1, 99)],
  procedural_memory: [records.pattern(1), records.pattern(2)],
  agent_state: [records.agent(1), records.agent(2)],
  kv_store: [records.kv(1), records.kv(2, { metadata: null })],
  workflow_states: [records.workflow(1), records.workflow(2)],
  sessions: [1, 2, 3].map((n) => records.session(n, { artifact_count: n })),
  "artifacts.content": ["h", "i"].map((hash, n) =>
    records.content(hash, Buffer.alloc(n === 0 ? 3 : MIB + 3, 7), { reference_count: 2 + n }),
  ),
  "artifacts.artifacts": [1, 2, 3].flatMap((n) => [
    records.artifact(n, 0, "h", { tags: ["b", null, "a"] }),
    records.artifact(n, 1, "i"),
  ]),
  event_log: [records.event(1, { timestamp: "-infinity" }), records.event(2)],
  hook_history: [records.hook(1), records.hook(2)],
};

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed).reverse();
  if (value === null || typeof value !== "object" || Buffer.isBuffer(value)) return value;
  return Object.fromEntries(Object.entries(value).reverse());
}
/** Every section, every record and every key in the opposite order; text[] and json keep theirs. */
const REVERSED = Object.fromEntries(
  Object.entries(FAMILY)
    .map(([path, each]) => [path, each.map((fields) => reversed(fields) as Fields).reverse()] as const)
    .reverse(),
);

function jqSorted(document: string): string {
  const { status, stdout, stderr } = spawnSync("jq", ["-S", "."], {
    input: document,
    encoding: "utf8",
    maxBuffer: 1e9,
  });
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

function registerOrderTests(
  backend: string,
  open: () => Promise<TestStore>,
  shared: () => { reference: TestStore; columns: Columns },
): void {
  describe(`in ${backend}`, () => {
    let target: TestStore;
    const prefix = backend === "SQLite" ? "" : "llmspell.";
    const count = async (table: string): Promise<bigint> =>
      (await target.rows(`SELECT count(*) FROM ${prefix}${table}`))[0]?.[0] as bigint;
    beforeAll(async () => {
      target = await open();
    });
    beforeEach(() => target.clear());
    afterAll(() => target.drop());

    it("a document sorted by jq -S, and one with every section reversed, import the same", async () => {
      const document = documentText(FAMILY);
      const { reference, columns } = shared();
      await load(document, target);
      // jq prints json with blanks, which SQLite keeps.
      const stored = async () => normalised(await storedRows(target, columns), reference, columns);
      const expected = await stored();
      expect(expected).toHaveLength(Object.values(FAMILY).flat().length);
      const sorted = jqSorted(document);
      expect(sorted.indexOf('"artifacts"')).toBeLessThan(sorted.indexOf('"sessions"'));
      expect(sorted.indexOf('"data"')).toBeLessThan(sorted.indexOf('"version"'));
      const backwards = documentText(REVERSED);
      for (const other of [sorted, backwards]) {
        await target.clear();
        // Into empty tables, and over the same rows.
        for (const updated of [0, expected.length]) {
          const { result } = await load(other, target);
          expect(result.totals).toMatchObject({ updated, inserted: expected.length - updated, rejected: 0 });
          expectSameRows(await stored(), expected);
        }
      }
    });

    const orphans: Sections = {
      "artifacts.artifacts": [
        records.artifact(1, 0, "h"),
        records.artifact(7, 0, "h"),
        records.artifact(8, 0, "h"),
        records.artifact(1, 1, "gone"),
      ],
      "artifacts.content": [records.content("h", Buffer.from("abc"), { reference_count: 3 })],
      sessions: [records.session(1, { artifact_count: 2 })],
    };

    it("an artifact without its session or content stops the import: the first is named, all are counted", async () => {
      const error = await failureOf(load(orphans, target));
      expect([error.code, error.exitStatus, error.context.section]).toEqual(["E_ORPHAN", 5, "artifacts.artifacts"]);
      expect(`${error.message}\n${error.context.detail}`).toMatch(/^3 records refer|parents: 3$/m);
      expect(error.context.key).toMatch(/artifact_id=0{8}-/);
      for (const table of ["artifacts", "artifact_content", "sessions"]) expect(await count(table)).toBe(0n);
    });

    it("--on-orphan drop leaves orphans out and counts them", async () => {
      const { result, rejected } = await load(orphans, target, { onOrphan: "drop" });
      expect(result.totals).toMatchObject({ inserted: 3, dropped: 3, rejected: 0 });
      expect(rejected).toEqual([]);
      expect(await target.rows(`SELECT artifact_id FROM ${prefix}artifacts`)).toEqual([[`${id(1)}:0:h`]]);
      // Counters are as exported: what was dropped is none of the target's business.
      expect(await target.rows(`SELECT reference_count FROM ${prefix}artifact_content`)).toEqual([[3n]]);
    });

    it("an orphan is rejected by itself where bad records are skipped", async () => {
      const { result, rejected } = await load(orphans, target, { skip: true });
      expect(rejected.map(({ error }) => error.code)).toEqual(["E_ORPHAN", "E_ORPHAN", "E_ORPHAN"]);
      expect(rejected.map(({ record }) => (JSON.parse(record) as Fields)["artifact_id"]).sort()).toEqual(
        [`${id(1)}:1:gone`, `${id(7)}:0:h`, `${id(8)}:0:h`].sort(),
      );
      expect(result.totals).toMatchObject({ inserted: 3, rejected: 3 });
      expect(await count("artifacts")).toBe(1n);
    });

    it("children are rejected with their parent, in either order, unless the target has it", async () => {
      const family = (status: string): Sections => ({
        "artifacts.artifacts": [records.artifact(1, 0, "h"), records.artifact(2, 0, "h")],
        "artifacts.content": [records.content("h", Buffer.from("abc"))],
        sessions: [records.session(1, { status }), records.session(2)],
      });
      for (const sections of [family("gone"), Object.fromEntries(Object.entries(family("gone")).reverse())]) {
        await target.clear();
        const { rejected, result } = await load(sections, target, { skip: true });
        expect(rejected.map(({ error }) => [error.code, error.context.section, error.context.key])).toEqual([
          ["E_CHECK", "sessions", `tenant_id=t, session_id=${id(1)}`],
          ["E_PARENT_REJECTED", "artifacts.artifacts", `tenant_id=t, artifact_id=${id(1)}:0:h`],
        ]);
        expect(result.totals).toMatchObject({ inserted: 3, rejected: 2 });
        expect(await target.rows(`SELECT artifact_id FROM ${prefix}artifacts`)).toEqual([[`${id(2)}:0:h`]]);
      }
      await target.clear();
      await load(family("archived"), target);
      const { rejected } = await load(family("gone"), target, { skip: true });
      expect(rejected.map(({ error }) => error.code)).toEqual(["E_CHECK"]);
      expect(await target.rows(`SELECT status FROM ${prefix}sessions ORDER BY session_id`)).toEqual([
        ["archived"],
        ["active"],
      ]);
    });

    it("relationships whose entities are gone import", async () => {
      await load({ "knowledge_graph.relationships": [records.relationship(1, 5, 6)] }, target);
      expect(await target.rows(`SELECT from_entity, to_entity FROM ${prefix}relationships`)).toEqual([[id(5), id(6)]]);
    });

    it("counters are raised by what the target has besides, and the report says so", async () => {
      await load(
        {
          sessions: [records.session(1, { artifact_count: 2 })],
          "artifacts.content": [records.content("h", Buffer.from("abc"), { reference_count: 2 })],
          "artifacts.artifacts": [0, 1].map((sequence) => records.artifact(1, sequence, "h")),
        },
        target,
      );
      const counters = async (): Promise<unknown> => [
        await target.rows(`SELECT artifact_count FROM ${prefix}sessions`),
        await target.rows(`SELECT reference_count FROM ${prefix}artifact_content`),
      ];
      // The document's one artifact, and the target's two.
      const more: Sections = {
        sessions: [records.session(1, { artifact_count: 1 })],
        "artifacts.content": [records.content("h", Buffer.from("abc"), { reference_count: 1 })],
        "artifacts.artifacts": [records.artifact(1, 5, "h")],
      };
      const merged = await load(more, target);
      expect(await counters()).toEqual([[[3n]], [[3n]]]);
      expect(merged.result.notes.join("\n")).toMatch(
        /reference_count of 1 .*raised[\s\S]*artifact_count of 1 .*raised/,
      );
      // Parents alone: at least what the target has.
      const { "artifacts.artifacts": _, ...parents } = more;
      const { result } = await load(parents, target);
      expect(await counters()).toEqual([[[3n]], [[3n]]]);
      expect(result.notes).toHaveLength(2);
      await load({ sessions: [records.session(1, { artifact_count: 9 })] }, target);
      expect(await counters()).toEqual([[[9n]], [[3n]]]);
    });

    it("a counter is never raised beyond what its column holds", async () => {
      const of = (sequence: number, reference_count: number): Sections => ({
        sessions: [records.session(1)],
        "artifacts.content": [records.content("h", Buffer.from("abc"), { reference_count })],
        "artifacts.artifacts": [records.artifact(1, sequence, "h")],
      });
      await load(of(0, 1), target);
      await load(of(1, 2147483647), target);
      expect(await target.rows(`SELECT reference_count FROM ${prefix}artifact_content`)).toEqual([[2147483647n]]);
    });
  });
}

describeWithTools(["jq"], "the order of a document", () => {
  describePostgres("with a server", () => {
    let reference: TestStore;
    let columns: Columns;
    beforeAll(async () => {
      reference = await createPostgresStore();
      columns = await columnsOf(reference);
    });
    afterAll(() => reference.drop());
    registerOrderTests(
      "SQLite",
      async () => createSqliteStore(),
      () => ({ reference, columns }),
    );
    registerOrderTests("PostgreSQL", createPostgresStore, () => ({ reference, columns }));
  });
});
