/** `--on-error skip` in an export: what belongs to a rejected record goes with it, counted, so that the document imports. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { defineTransform } from "../../src/index.js";
import { RejectedKeys } from "../../src/transforms/referential/rejected-keys.js";
import { describePostgres } from "../helpers/postgres-server.js";
import * as records from "./records.js";
import { id, type Sections } from "./records.js";
import {
  createPostgresStore,
  createSqliteStore,
  documentText,
  load,
  recordsOf,
  type TestStore,
  unload,
} from "./support.js";

/** Longer than what a message shows of a key. */
const LONG = "k".repeat(210);

const SECTIONS: Sections = {
  sessions: [1, 2, 3].map((n) => records.session(n)),
  "artifacts.content": [...["a", "b", "c"].map((hash) => records.content(hash, Buffer.from(hash)))],
  "artifacts.artifacts": [
    records.artifact(1, 0, "a"),
    records.artifact(1, 1, "b"),
    records.artifact(2, 0, "a"),
    records.artifact(3, 0, "c"),
  ],
};

function keysOf(document: string): string[] {
  return recordsOf(document, "artifacts.artifacts").map((record) => String(record["artifact_id"]));
}

const A1 = `${id(1)}:0:a`;
const B1 = `${id(1)}:1:b`;
const A2 = `${id(2)}:0:a`;
const C3 = `${id(3)}:0:c`;

describe("an export that skips", () => {
  let store: TestStore;
  let target: TestStore;
  beforeAll(() => {
    store = createSqliteStore();
    target = createSqliteStore();
  });
  beforeEach(async () => {
    await store.clear();
    await load(SECTIONS, store);
    await target.clear();
  });
  afterAll(async () => {
    await store.drop();
    await target.drop();
  });

  /** Exports, skipping; the document must import into an empty database. */
  async function exported(options: Parameters<typeof unload>[1] = {}) {
    const outcome = await unload(store, { skip: true, ...options });
    await load(outcome.document, target);
    return { ...outcome, codes: outcome.rejected.map(({ error }) => `${error.code} ${error.context.key}`) };
  }

  it("a bad session takes its artifacts with it, and no others", async () => {
    await store.run(`UPDATE sessions SET created_at = 'x' WHERE session_id = '${id(1)}'`);
    const { codes, document, result, rejected } = await exported();
    expect(keysOf(document)).toEqual([A2, C3]);
    expect(codes).toEqual([
      `E_FIELD_TYPE tenant_id=t, session_id=${id(1)}`,
      `E_PARENT_REJECTED tenant_id=t, artifact_id=${A1}`,
      `E_PARENT_REJECTED tenant_id=t, artifact_id=${B1}`,
    ]);
    expect(rejected[1]?.error.context).toMatchObject({ section: "artifacts.artifacts", field: "session_id" });
    expect(JSON.parse(rejected[1]?.record ?? "")).toMatchObject({ artifact_id: A1 });
    expect(result.totals.rejected).toBe(3);
  });

  it("a bad content does, too", async () => {
    await store.run("UPDATE artifact_content SET created_at = 'x' WHERE content_hash = 'a'");
    const { document, result } = await exported();
    expect(keysOf(document)).toEqual([B1, C3]);
    expect(result.kinds.find(({ path }) => path === "artifacts.artifacts")).toMatchObject({ read: 2, rejected: 2 });
  });

  it("keys that begin alike, beyond what a message shows, are told apart", async () => {
    const tenants = [`${LONG}1`, `${LONG}2`];
    await load(
      {
        sessions: tenants.map((tenant_id, n) => records.session(8 + n, { tenant_id })),
        "artifacts.content": tenants.map((tenant_id) => records.content("z", Buffer.from("z"), { tenant_id })),
        "artifacts.artifacts": tenants.map((tenant_id, n) => records.artifact(8 + n, 0, "z", { tenant_id })),
      },
      store,
    );
    await store.run(`UPDATE artifact_content SET created_at = 'x' WHERE tenant_id = '${LONG}1'`);
    const { document } = await exported();
    expect(keysOf(document).sort()).toEqual([A1, B1, A2, C3, `${id(9)}:0:z`]);
  });

  const failing = defineTransform({
    name: "failing",
    sections: ["sessions"],
    transform(session) {
      if (session["session_id"] === id(2)) throw new Error("no");
      return session;
    },
  });

  it.each([
    ["a plugin", [{ type: "plugin" as const, module: failing }]],
    [
      "jq",
      [
        {
          type: "jq" as const,
          expression: `.data.sessions[] |= (if .session_id == "${id(2)}" then error("no") else . end)`,
        },
      ],
    ],
  ])("a session that %s rejects does, behind and before stages that change its key", async (_name, steps) => {
    const renamed = { type: "map-tenant" as const, from: "t", to: "other" };
    for (const transforms of [steps, [renamed, ...steps], [...steps, renamed]]) {
      await target.clear();
      const { document, codes } = await exported({ transforms });
      expect(keysOf(document)).toEqual([A1, B1, C3]);
      expect(codes).toHaveLength(2);
      expect(codes[1]).toMatch(/^E_PARENT_REJECTED tenant_id=(t|other), artifact_id=.*:0:a$/);
    }
  });

  it("works beside a stage that drops", async () => {
    await store.run(`UPDATE sessions SET created_at = 'x' WHERE session_id = '${id(1)}'`);
    const dropping = defineTransform({
      name: "dropping",
      sections: ["sessions", "artifacts.artifacts"],
      transform: (record) => (record["session_id"] === id(3) || record["artifact_id"] === A1 ? null : record),
    });
    for (const limit of [undefined, 3]) {
      await target.clear();
      const { document, result } = await exported({
        transforms: [{ type: "plugin", module: dropping }],
        ...(limit === undefined ? {} : { limit }),
      });
      expect(keysOf(document)).toEqual([A2]);
      expect(result.totals).toMatchObject({ rejected: 3, cascaded: expect.any(Number) });
    }
  });

  it("a document that is exported again does, and the first stays as it is without skip", async () => {
    const text = documentText({
      ...SECTIONS,
      sessions: [records.session(1), records.session(2, { created_at: "x" }), records.session(3)],
    });
    await expect(load(text, target)).rejects.toMatchObject({ code: "E_FIELD_TYPE" });
    const { rejected } = await load(text, target, { skip: true });
    expect(rejected.map(({ error }) => error.code)).toEqual(["E_FIELD_TYPE", "E_PARENT_REJECTED"]);
  });

  describePostgres("from PostgreSQL", () => {
    it("content that the role may not read takes its artifacts with it", async () => {
      const postgres = await createPostgresStore();
      try {
        await load(SECTIONS, postgres);
        await load(
          {
            "artifacts.content": [records.content("large", Buffer.alloc(1500000))],
            "artifacts.artifacts": [records.artifact(2, 1, "large")],
          },
          postgres,
        );
        await postgres.run("SELECT lo_unlink(oid) FROM pg_largeobject_metadata");
        const { document, rejected } = await unload(postgres, { skip: true });
        expect(rejected.map(({ error }) => error.code)).toEqual(["E_LARGE_OBJECT_MISSING", "E_PARENT_REJECTED"]);
        expect(keysOf(document)).toHaveLength(4);
        await load(document, target);
      } finally {
        await postgres.drop();
      }
    });
  });
});

describe("the keys of rejected records", () => {
  it("are found again, however many there are, while more come", async () => {
    const keys = new RejectedKeys(new Set(["sessions"]));
    const count = 300_000;
    for (let i = 0; i < count; i++) {
      await keys.add("sessions", `k=${i}`);
      if (i % 9973 === 0)
        expect([keys.has("sessions", `k=${i}`), keys.has("sessions", `k=${i + 1}`)]).toEqual([true, false]);
    }
    for (let i = 0; i < count; i += 997) expect(keys.has("sessions", `k=${i}`)).toBe(true);
    for (let i = count; i < count + 1000; i++) expect(keys.has("sessions", `k=${i}`)).toBe(false);
    expect([keys.has("artifacts.content", "k=1"), keys.hasAny("artifacts.content")]).toEqual([false, false]);
    await keys.close();
  });
});
