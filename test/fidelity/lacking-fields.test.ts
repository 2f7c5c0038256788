/** Documents of llmspell itself lack fields: what is in the target stays, and new records get defaults. One table for both databases. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { defineTransform, type TransformSpec } from "../../src/index.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { scaled } from "../helpers/scale.js";
import * as records from "./records.js";
import { type Fields, id, type Sections, time } from "./records.js";
import {
  createPostgresStore,
  createSqliteStore,
  documentText,
  load,
  recordsOf,
  type TestStore,
  unload,
} from "./support.js";

/** What llmspell's exporter says of its SQLite documents, and what makes a document ours. */
const LEGACY = { producer: undefined, migrations: ["V3", "V4", "V13"] };
const OURS = {};

/** Nothing in it is a default, and its times are beside whole seconds. */
const hook = records.hook(1, {
  hook_context: Buffer.from("abc").toString("base64"),
  triggering_component: "trigger",
  component_id: "component",
  modified_operation: true,
  tags: ["kept", null],
  retention_priority: 7,
  context_size: 99,
  contains_sensitive_data: true,
  metadata: { kept: 1 },
});
const DEFAULTS = {
  triggering_component: "",
  component_id: "",
  modified_operation: false,
  tags: [],
  retention_priority: 0,
  context_size: 1,
  contains_sensitive_data: false,
  metadata: {},
};
/** As llmspell exports it: seconds, a surrogate id, nothing behind duration_ms. */
const exported = (n: number, more: Fields = {}): Fields => ({
  id: `surrogate${n}`,
  execution_id: id(n),
  tenant_id: "t",
  hook_id: "changed",
  hook_type: "x",
  correlation_id: id(n),
  hook_context: "AA==",
  result_data: { changed: true },
  timestamp: 1800000000,
  duration_ms: 5,
  ...more,
});
const SECOND = 1800000000 * 1000000;
const changed = {
  hook_id: "changed",
  hook_context: "AA==",
  result_data: { changed: true },
  duration_ms: 5,
  timestamp: SECOND,
};

const entry = records.kv(1, { metadata: { kept: 1 } });
const legacyEntry = {
  kv_id: id(1),
  tenant_id: "t",
  key: "k1",
  value: "AA==",
  created_at: 1800000000,
  updated_at: 1800000000,
};

interface Case {
  readonly name: string;
  readonly existing: Sections;
  readonly header: Fields;
  readonly incoming: Sections;
  readonly transforms?: readonly TransformSpec[];
  readonly tenants?: readonly string[];
  readonly onConflict?: "skip";
  readonly counts: readonly [inserted: number, updated: number];
  /** Fields of the records afterwards, by path, in the order of their keys. */
  readonly rows: Readonly<Record<string, readonly Fields[]>>;
}

const CASES: readonly Case[] = [
  {
    name: "llmspell's hooks keep the eight fields that its document lacks, and get the others",
    existing: { hook_history: [hook] },
    header: LEGACY,
    incoming: { hook_history: [exported(1)] },
    counts: [0, 1],
    rows: { hook_history: [{ ...hook, ...changed }] },
  },
  {
    name: "so they do from llmspell's PostgreSQL, whose document is known by its ids and has microseconds",
    existing: { hook_history: [hook] },
    header: { producer: undefined, source_backend: "postgresql" },
    incoming: { hook_history: [exported(1, { timestamp: time(5) })] },
    counts: [0, 1],
    rows: { hook_history: [{ ...hook, ...changed, timestamp: time(5) }] },
  },
  {
    name: "new hooks get defaults, among others that are there",
    existing: { hook_history: [hook] },
    header: LEGACY,
    incoming: { hook_history: [exported(1), exported(2), exported(3, { tags: ["held"], metadata: { held: 1 } })] },
    counts: [2, 1],
    rows: {
      hook_history: [
        { ...hook, ...changed },
        { execution_id: id(2), ...changed, ...DEFAULTS, created_at: SECOND },
        { execution_id: id(3), ...changed, ...DEFAULTS, tags: ["held"], metadata: { held: 1 }, created_at: SECOND },
      ],
    },
  },
  {
    name: "each record keeps what it lacks itself",
    existing: { hook_history: [hook, { ...hook, execution_id: id(2) }, { ...hook, execution_id: id(3) }] },
    header: LEGACY,
    incoming: {
      hook_history: [
        exported(1, { tags: ["new"] }),
        exported(2, { metadata: { new: 1 }, retention_priority: 1 }),
        exported(3, { created_at: 1800000001, tags: null }),
      ],
    },
    counts: [0, 3],
    rows: {
      hook_history: [
        { ...hook, ...changed, tags: ["new"] },
        {
          ...hook,
          ...changed,
          execution_id: id(2),
          correlation_id: id(2),
          metadata: { new: 1 },
          retention_priority: 1,
        },
        { ...hook, ...changed, execution_id: id(3), correlation_id: id(3), created_at: SECOND + 1000000, tags: null },
      ],
    },
  },
  {
    name: "llmspell's null is NULL, a key that it lacks is not",
    existing: { kv_store: [entry, { ...entry, kv_id: id(2), key: "k2" }] },
    header: LEGACY,
    incoming: { kv_store: [legacyEntry, { ...legacyEntry, kv_id: id(2), key: "k2", metadata: null }] },
    counts: [0, 2],
    rows: {
      kv_store: [
        { kv_id: id(1), value: "AA==", metadata: { kept: 1 } },
        { kv_id: id(2), value: "AA==", metadata: undefined },
      ],
    },
  },
  {
    name: "in a document of ours an absent json field is NULL, and so are others that may be",
    existing: { kv_store: [entry], sessions: [records.session(1, { expires_at: time(9) })] },
    header: OURS,
    incoming: {
      kv_store: [records.kv(1)],
      sessions: [{ ...records.session(1), expires_at: undefined }],
    },
    counts: [0, 2],
    rows: { kv_store: [{ metadata: undefined }], sessions: [{ expires_at: null }] },
  },
  {
    name: "ends of intervals that llmspell's document lacks stay, and are infinite in new versions",
    existing: {
      "knowledge_graph.entities": [records.entity(1, -1, { valid_time_end: time(7), properties: { kept: 1 } })],
    },
    header: LEGACY,
    incoming: {
      "knowledge_graph.entities": [1, 2].map((n) => ({
        ...{ entity_id: id(n), tenant_id: "t", entity_type: "person", name: "changed", created_at: 1767225600 },
        ...{ valid_time_start: 1767225599, transaction_time_start: 1767225600 },
      })),
    },
    counts: [2, 0],
    rows: {
      "knowledge_graph.entities": [
        { name: "", valid_time_end: time(7), properties: { kept: 1 } },
        { name: "changed", valid_time_end: "infinity", properties: {} },
        { name: "changed", valid_time_end: "infinity", properties: {} },
      ],
    },
  },
  {
    name: "the end of an interval of the very version stays",
    existing: {
      "knowledge_graph.entities": [
        { ...records.entity(1, 0), valid_time_start: time(0), valid_time_end: time(7), properties: { kept: 1 } },
      ],
    },
    header: LEGACY,
    incoming: {
      "knowledge_graph.entities": [
        {
          ...{ entity_id: id(1), tenant_id: "t", entity_type: "person", name: "changed", created_at: 1767225600 },
          ...{ valid_time_start: 1767225600, transaction_time_start: 1767225600 },
        },
      ],
    },
    counts: [0, 1],
    rows: { "knowledge_graph.entities": [{ name: "changed", valid_time_end: time(7), properties: { kept: 1 } }] },
  },
  {
    name: "a field that jq sets is held, one that it deletes is NULL, and what it leaves alone stays",
    existing: { hook_history: [hook] },
    header: LEGACY,
    incoming: { hook_history: [exported(1)] },
    transforms: [
      { type: "jq", expression: 'hook_history: .component_id = "set" | .tags = ["x"] | del(.tags)' },
      { type: "mask", rule: "hook_history.hook_type=redact" },
      { type: "map-tenant", from: "nobody", to: "someone" },
    ],
    counts: [0, 1],
    rows: {
      hook_history: [{ ...hook, ...changed, hook_type: "[redacted]", component_id: "set", tags: null }],
    },
  },
  {
    name: "a field that a plugin sets is held, and what it passes on stays, in one record or in several",
    existing: { hook_history: [hook], kv_store: [entry] },
    header: LEGACY,
    incoming: { hook_history: [exported(1), exported(2)], kv_store: [legacyEntry] },
    transforms: [
      {
        type: "plugin",
        module: defineTransform({
          name: "set",
          sections: ["hook_history", "kv_store"],
          transform: (record) =>
            "kv_id" in record ? { ...record, value: Buffer.from("x") } : { ...record, component_id: "set" },
        }),
      },
    ],
    counts: [1, 2],
    rows: {
      hook_history: [
        { ...hook, ...changed, component_id: "set" },
        { ...changed, ...DEFAULTS, execution_id: id(2), component_id: "set" },
      ],
      kv_store: [{ value: "eA==", metadata: { kept: 1 } }],
    },
  },
  {
    name: "one tenant's records of a document keep what they lack",
    existing: { hook_history: [hook] },
    header: LEGACY,
    incoming: { hook_history: [exported(2, { tenant_id: "other" }), exported(1)] },
    tenants: ["t"],
    counts: [0, 1],
    rows: { hook_history: [{ ...hook, ...changed }] },
  },
  {
    name: "skip leaves all of a row",
    existing: { hook_history: [hook] },
    header: LEGACY,
    incoming: { hook_history: [exported(1), exported(2)] },
    onConflict: "skip",
    counts: [1, 0],
    rows: { hook_history: [hook, { ...changed, ...DEFAULTS, execution_id: id(2) }] },
  },
];

/** What a run merges: each costs a second. */
const MERGED = scaled(
  ["each record keeps what it lacks itself", "skip leaves all of a row"],
  CASES.map(({ name }) => name),
);

/** `jobs`: of a run. */
function registerCases(backend: string, open: () => Promise<TestStore>, jobs?: number): void {
  describe(`in ${backend}`, () => {
    let target: TestStore;
    beforeAll(async () => {
      target = await open();
    });
    beforeEach(() => target.clear());
    afterAll(() => target.drop());

    for (const { name, existing, header, incoming, counts, rows, ...options } of CASES)
      it.runIf(jobs === undefined || MERGED.includes(name))(name, async () => {
        const { transforms = [], tenants, onConflict } = options;
        await load(existing, target);
        const { result } = await load(documentText(incoming, header), target, {
          transforms,
          ...(jobs === undefined ? {} : { jobs }),
          ...(tenants === undefined ? {} : { tenants }),
          ...(onConflict === undefined ? {} : { onConflict }),
        });
        expect([result.totals.inserted, result.totals.updated]).toEqual(counts);
        const { document } = await unload(target);
        for (const [path, expected] of Object.entries(rows)) {
          const actual = recordsOf(document, path);
          expect(actual).toHaveLength(expected.length);
          actual.forEach((record, i) => {
            expect(record).toMatchObject(JSON.parse(JSON.stringify(expected[i])));
            for (const [field, value] of Object.entries(expected[i] as Fields))
              if (value === undefined) expect(record).not.toHaveProperty(field);
          });
        }
      });

    it("a document of llmspell's over the database that it came from changes nothing, twice", async () => {
      await load({ hook_history: [hook] }, target);
      const own = exported(1, {
        ...{ hook_id: hook["hook_id"], hook_context: hook["hook_context"], result_data: {}, duration_ms: 0 },
        timestamp: 1767225600,
      });
      const whole = { ...hook, timestamp: time(0) };
      for (let round = 0; round < 2; round++) {
        await load(documentText({ hook_history: [own] }, LEGACY), target);
        expect(recordsOf((await unload(target)).document, "hook_history")).toEqual([whole]);
      }
    });
  });
}

describe("fields that a document lacks", () => {
  registerCases("SQLite", async () => createSqliteStore());
  describePostgres("with a server", () => {
    registerCases("PostgreSQL", () => createPostgresStore());
    registerCases("PostgreSQL, merged by a run", () => createPostgresStore("migrated"), 2);

    it("a row that has all that such a record holds is not written again", async () => {
      const postgres = await createPostgresStore();
      try {
        await load({ hook_history: [hook] }, postgres);
        const document = documentText({ hook_history: [exported(1)] }, LEGACY);
        await load(document, postgres);
        const [before] = await postgres.rows("SELECT xmin FROM llmspell.hook_history");
        expect((await load(document, postgres)).result.totals).toMatchObject({ updated: 1 });
        expect(await postgres.rows("SELECT xmin FROM llmspell.hook_history")).toEqual([before]);
      } finally {
        await postgres.drop();
      }
    });
  });
});
