/** jq expressions that never come to an end, or take all memory: each record has limits, and a signal is always heard. */
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWorkspace, type Outcome, outcomeOf, type Workspace } from "../helpers/llmspell.js";

let workspace: Workspace;
let database: string;
let names = 0;
const KEYS = ["k0", "k1", "k2", "k3"];
/** Takes V8 2^60 steps for `(\w|_)*!`, and jq itself few. */
const UNDERSCORES = "_".repeat(60);
/** Takes both of them 2^40 steps and more for `^((a|aa)+)+b\1$`. */
const LETTERS = "a".repeat(60);

beforeAll(async () => {
  workspace = createWorkspace();
  const records = KEYS.map(
    (key, at) => `{"kv_id":"2222222${at}-1111-4111-8111-111111111111","tenant_id":"acme","key":"${key}","value":"AP/+",
      "metadata":{"hostile":"${at === 1 ? UNDERSCORES : "x"}","letters":"${at === 1 ? LETTERS : "x"}"},
      "created_at":1700000000000000,"updated_at":1700000000654321}`,
  );
  writeFileSync(
    workspace.path("input.json"),
    `{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":["V1"],"data":{"kv_store":[${records}]}}`,
  );
  database = workspace.path("database.db");
  await workspace.must(["storage", "import", "--database", database, "--input", workspace.path("input.json")]);
});
afterAll(() => workspace[Symbol.dispose]());

function words(expression: string, more: readonly string[]): { output: string; args: string[] } {
  const output = workspace.path(`${++names}.json`);
  return {
    output,
    args: ["storage", "export", "--database", database, "--output", output, "--jq", expression, ...more],
  };
}

async function jq(expression: string, ...more: string[]): Promise<Outcome & { output: string }> {
  const { output, args } = words(expression, more);
  return { ...(await workspace.run(args)), output };
}

interface KvRecord {
  readonly key: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

function recordsOf(output: string): readonly KvRecord[] {
  return (JSON.parse(readFileSync(output, "utf8")) as { data: { kv_store: KvRecord[] } }).data.kv_store;
}

it("gives the answer where one engine's regular expressions take too long and the other's do not", async () => {
  const { status, stderr, output } = await jq('kv_store: .metadata.found = (.metadata.hostile | test("(\\\\w|_)*!"))');
  expect(status, stderr).toBe(0);
  expect(recordsOf(output).map(({ metadata }) => metadata["found"])).toEqual([false, false, false, false]);
});

describe("an endless program ends at its limit:", () => {
  it.each([
    ["range(infinite)", "100000 outputs|within 0.4 seconds"],
    ["[repeat(.)]", "memory|within 0.4 seconds"],
    ["last(range(infinite))", "within 0.4 seconds"],
    ["def f: f; f", "within 0.4 seconds"],
    ["def f: [f]; f", "memory|within 0.4 seconds"],
    ['reduce range(100) as $i ("x"; . + .)', "memory|within 0.4 seconds|broke"],
    ['.metadata.letters | test("^((a|aa)+)+b\\\\1$")', "the program failed|within 0.4 seconds"],
    ['.metadata.letters | sub("((a|aa)+)+b\\\\1"; "")', "the program failed|within 0.4 seconds"],
  ])("%s", async (program, reason) => {
    const { status, stderr, output } = await jq(
      `kv_store: if .key == "k1" then (${program}) else . end`,
      "--jq-timeout",
      "0.4",
    );
    expect([status, stderr]).toEqual([
      5,
      expect.stringMatching(/\[E_JQ(_LIMIT)?\]\n {2}at section kv_store, record kv_id=22222221/),
    ]);
    expect(stderr).toMatch(new RegExp(reason));
    expect(existsSync(output)).toBe(false);
  });

  it("and the other records go on", async () => {
    const rejects = workspace.path("rejects.ndjson");
    const { status, stderr, output } = await jq(
      'kv_store: if .key == "k1" then last(range(infinite)) else .metadata.seen = true end',
      ...["--jq-timeout", "0.4", "--on-error", "skip", "--rejects", rejects],
    );
    expect(status, stderr).toBe(6);
    expect(recordsOf(output).map(({ key, metadata }) => [key, metadata["seen"]])).toEqual(
      ["k0", "k2", "k3"].map((key) => [key, true]),
    );
    expect(JSON.parse(readFileSync(rejects, "utf8"))).toMatchObject({
      section: "kv_store",
      code: "E_JQ_LIMIT",
      record: { key: "k1" },
    });
  });

  it("before anything is written, where it is the compiling that does not end", async () => {
    const { status, stderr, output } = await jq('kv_store: .metadata = [limit(10; "x"*1e9)]', "--jq-timeout", "0.4");
    expect([status, stderr]).toEqual([
      5,
      expect.stringMatching(/compiling the expression (did not|needs more).* \[E_JQ_LIMIT\]/),
    ]);
    expect(existsSync(output)).toBe(false);
  });

  it("by config.toml's limit", async () => {
    const config = workspace.path("limits.toml");
    writeFileSync(config, "[transforms]\njq_timeout_seconds = 0.5\n");
    const { args } = words("kv_store: last(range(infinite))", []);
    const { status, stderr } = await workspace.run(args, { env: { LLMSPELL_CONFIG: config } });
    expect([status, stderr]).toEqual([5, expect.stringContaining("within 0.5 seconds [E_JQ_LIMIT]")]);
    expect(stderr).toContain("--jq-timeout");
  });
});

describe.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("%s ends the run", (signal, status) => {
  it.each([
    ["while jq itself works", "last(range(infinite))"],
    [
      "while closures work",
      `[.metadata.hostile / "" | ${Array.from("abcdefgh", (name) => `.[] as $${name} | `).join("")} 1] | length`,
    ],
  ])("%s", async (_when, program) => {
    const { output, args } = words(`kv_store: (${program})`, ["--jq-timeout", "600"]);
    const child = workspace.start(args);
    const ended = outcomeOf(child);
    // It has said that it begins: from then on signals are its own. By the end of the time jq is at work.
    await once(child.stdout as NodeJS.ReadableStream, "data");
    await setTimeout(1000);
    child.kill(signal);
    expect((await ended).status).toBe(status);
    expect(readdirSync(workspace.folder).filter((name) => output.endsWith(name))).toEqual([]);
  });
});
