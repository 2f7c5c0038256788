/** What validate finds is what an import refuses: it finds nothing exactly where the import passes, and first what it stops at. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DocumentFinding as Finding, importStore, type StorageError, validateDocument } from "../../src/index.js";
import { around, REFUSALS } from "../fidelity/refused-records.js";
import { documentText } from "../fidelity/support.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { scaled } from "../helpers/scale.js";
import { mutate, postgresTarget, seedDocuments, sqliteTarget, type Target } from "../long/documents.js";
import { fuzzOptions, Random } from "../long/fuzz.js";
import { cases } from "./refused-documents.js";

const golden = new URL("../golden/", import.meta.url);
let folder: string;
let seeds: string[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "llmspell-validation-"));
  seeds = await seedDocuments(join(folder, "source.db"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Verdict {
  readonly code: string;
  readonly section: string | undefined;
  readonly key: string | undefined;
  readonly field: string | undefined;
}

const verdictOf = (found: Finding | undefined): Verdict | undefined =>
  found && { code: found.code, section: found.section, key: found.key, field: found.field };

async function imported(bytes: Buffer, target: Target): Promise<Verdict | undefined> {
  await target.clear();
  try {
    await importStore({ from: Readable.from([bytes]), to: target.store });
    return undefined;
  } catch (error) {
    const { code, context } = error as StorageError;
    return { code, section: context.section, key: context.key, field: context.field };
  }
}

function registerAgreement(backend: "sqlite" | "postgres", open: () => Promise<Target>): void {
  let target: Target;
  beforeAll(async () => {
    target = await open();
  });
  afterAll(() => target.close());

  const both = async (bytes: Buffer): Promise<{ validated: Verdict | undefined; refused: Verdict | undefined }> => {
    const found: Finding[] = [];
    const result = await validateDocument(Readable.from([bytes]), {
      for: backend,
      onFinding: (finding) => void found.push(finding),
    });
    expect(result.findings).toBe(found.length);
    expect(result.groups.reduce((sum, { count }) => sum + count, 0)).toBe(found.length);
    if (!result.complete) expect(found.at(-1)?.code).toMatch(/^E_(DOCUMENT|INVALID_UTF8)/);
    return { validated: verdictOf(result.first), refused: await imported(bytes, target) };
  };

  it("of the golden documents", async () => {
    for (const name of readdirSync(golden).filter((file) => file.endsWith(".json"))) {
      const { validated, refused } = await both(readFileSync(new URL(name, golden)));
      expect(validated, name).toEqual(refused);
    }
  });

  it("of documents that cannot be read", async () => {
    for (const [name, text] of cases) {
      const { validated, refused } = await both(Buffer.from(text));
      expect(refused, name).toBeDefined();
      expect(validated, name).toEqual(refused);
    }
  });

  it("of records that the backend refuses, and that only the other one does", async () => {
    for (const refusal of REFUSALS) {
      const { validated, refused } = await both(Buffer.from(documentText(around(refusal))));
      expect(validated, refusal.name).toEqual(refused);
    }
  });

  it("of mutated documents", async () => {
    const { seed, runs } = fuzzOptions(scaled(15, 2000));
    for (let run = seed; run < seed + runs; run++) {
      const bytes = mutate(seeds, new Random(run));
      const { validated, refused } = await both(bytes);
      expect(validated, `FUZZ_SEED=${run} FUZZ_RUNS=1`).toEqual(refused);
    }
  });
}

describe("validate agrees with an import into SQLite", () => {
  registerAgreement("sqlite", () => sqliteTarget(join(folder, "target.db")));
});

describePostgres("validate agrees with an import into PostgreSQL", () => {
  registerAgreement("postgres", async () => {
    const database = await createDatabase("migrated");
    const target = await postgresTarget(database.url);
    return { ...target, close: () => target.close().then(() => database.drop()) };
  });
});
