/** --jq through the binary: both engines, what they leave alone, and what is refused. */
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWorkspace, type Outcome, type Workspace } from "../helpers/llmspell.js";

let workspace: Workspace;
let input: string;
let database: string;
let names = 0;
const fresh = (suffix: string): string => workspace.path(`${++names}${suffix}`);
const read = (path: string): string => readFileSync(path, "utf8");

const METADATA =
  '{ "user" : {"id":12345678901234567890, "price":1.10, "huge":1e400, "zero":-0} ,"list":[1.0,{"n":1e2}], "\\u006eame":"N","a":1}';
const KEYS = ["k0", "k1", "k2", "k3"];

function kv(key: string, at: number): string {
  return `{"kv_id":"2222222${at}-1111-4111-8111-111111111111","tenant_id":"acme","key":"${key}",
    "value":"AP/+","metadata":${METADATA},"created_at":170000000000000${at},"updated_at":1700000000654321}`;
}

const CONTENT = Buffer.alloc(1500000, "large content ");

function vector(at: number): string {
  const numbers = Array.from({ length: 384 }, (_, index) => index / 8 + at);
  return `{"id":"3333333${at}-1111-4111-8111-111111111111","tenant_id":"acme","scope":"s","dimension":384,
    "embedding":[${numbers.join(",")}],"metadata":{"n":${at}},"created_at":1700000000000000,"updated_at":1700000000000000}`;
}

function content(hash: string, data: Buffer): string {
  return `{"tenant_id":"acme","content_hash":"${hash}","storage_type":"${data.length < 1048576 ? "bytea" : "large_object"}",
    "data":"${data.toString("base64")}","size_bytes":${data.length},"is_compressed":false,"original_size_bytes":null,
    "reference_count":1,"created_at":1700000000000000,"last_accessed_at":1700000000000000}`;
}

beforeAll(async () => {
  workspace = createWorkspace();
  input = workspace.path("input.json");
  const contents = [content("a".repeat(64), Buffer.from("small")), content("b".repeat(64), CONTENT)];
  writeFileSync(
    input,
    `{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":["V1"],"data":{
      "vector_embeddings":{"384":[${vector(1)},${vector(2)}]},"kv_store":[${KEYS.map(kv).join(",")}],
      "artifacts":{"content":[${contents.join(",")}],"artifacts":[]}}}`,
  );
  database = workspace.path("database.db");
  await workspace.must(["storage", "import", "--database", database, "--input", input]);
});
afterAll(() => workspace[Symbol.dispose]());

async function jq(expressions: string | readonly string[], ...words: string[]): Promise<Outcome & { output: string }> {
  const output = fresh(".json");
  const flags = [expressions].flat().flatMap((expression) => ["--jq", expression]);
  const run = await workspace.run([
    "storage",
    "export",
    "--database",
    database,
    "--output",
    output,
    ...flags,
    ...words,
  ]);
  return { ...run, output };
}

/** The lines of the document that hold records, by what they contain. */
async function lines(expression: string | readonly string[], having: string, ...words: string[]): Promise<string[]> {
  const { status, stderr, output } = await jq(expression, ...words);
  expect(status, stderr).toBe(0);
  return read(output)
    .split("\n")
    .filter((line) => line.includes(having))
    .map((line) => line.replace(/,$/, ""));
}

const plain = (): Promise<string[]> => lines(".", '"kv_id"');

/** The same for both engines: `IN_JQ` is left to jq, and does nothing. */
const ENGINES = [
  { engine: "compiled", wrap: (program: string) => program },
  { engine: "jq itself", wrap: (program: string) => `(${program}) | label $x | (., break $x)` },
];

describe.each(ENGINES)("an expression that is run by: $engine", ({ engine, wrap }) => {
  it("is reported with --verbose", async () => {
    const { stderr } = await jq(`kv_store: ${wrap(".")}`, "--verbose");
    expect(stderr).toContain(`kv_store: ${engine}`);
  });

  it("leaves every byte alone when it changes nothing", async () => {
    expect(await lines(`kv_store: ${wrap(".")}`, '"kv_id"')).toEqual(await plain());
    expect(await lines(`kv_store: ${wrap(".metadata.a = 1")}`, '"kv_id"')).toEqual(await plain());
  });

  it("leaves the text of numbers and of json that it does not touch", async () => {
    const [first = ""] = await lines(`kv_store: ${wrap(".metadata.a += 1")}`, '"k0"');
    expect(first).toContain(`"user":${METADATA.match(/"user" : (\{.*?\})/)?.[1]}`);
    expect(first).toContain('"list":[1.0,{"n":1e2}]');
    expect(first).toContain('"name":"N","a":2');
  });

  it("keeps the text of numbers that it moves", async () => {
    const program = ".metadata |= {id: .user.id, all: [.user.price, .user.huge, .user.zero], list: .list}";
    const [first = ""] = await lines(`kv_store: ${wrap(program)}`, '"k0"');
    expect(first).toContain('"metadata":{"id":12345678901234567890,"all":[1.10,1e400,-0],"list":[1.0,{"n":1e2}]}');
  });

  it("moves numbers from one field to another", async () => {
    const [first = ""] = await lines(
      `kv_store: ${wrap(".metadata.moved = .metadata.user.huge | .key += (.created_at | tostring)")}`,
      '"k0',
    );
    expect(first).toContain('"moved":1e400');
    expect(first).toContain('"key":"k01700000000000000"');
  });

  it("drops, copies and keeps records in order", async () => {
    const program = 'if .key == "k1" then empty elif .key == "k2" then (., (.key = "copy")) else . end';
    const found = await lines(`kv_store: ${wrap(program)}`, '"kv_id"');
    expect(found.map((line) => /"key":"(\w+)"/.exec(line)?.[1])).toEqual(["k0", "k2", "copy", "k3"]);
  });

  it("sees embeddings as the document shows them, and leaves them alone", async () => {
    const [base64 = ""] = await lines(
      `vector_embeddings.384: ${wrap(".metadata.type = (.embedding | type)")}`,
      '"embedding"',
    );
    expect(base64).toContain('"type":"string"');
    const numbers = `vector_embeddings: ${wrap(".metadata.first = .embedding[1]")}`;
    const [array = ""] = await lines(numbers, '"embedding"', "--vectors", "json");
    expect(array).toContain('"first":1.125');
    const untouched = await lines(".", '"embedding"', "--vectors", "json");
    expect(array.replace(',"first":1.125', "")).toBe(untouched[0]);
  });

  it("passes large contents by, and shows them when they are asked for", async () => {
    const all = await lines(".", '"content_hash"');
    expect(await lines(`artifacts.content: ${wrap(".reference_count += 1")}`, '"content_hash"')).toEqual(
      all.map((line) => line.replace('"reference_count":1', '"reference_count":2')),
    );
    const lengths = await lines(`artifacts.content: ${wrap(".reference_count = (.data | length)")}`, '"content_hash"');
    expect(lengths).toEqual(
      all.map((line, at) => line.replace('"reference_count":1', `"reference_count":${at === 0 ? 8 : 2000000}`)),
    );
    expect(await lines(`artifacts.content: ${wrap("select(.data | length < 100)")}`, '"content_hash"')).toEqual([
      all[0],
    ]);
  }, 60000);

  it("names section and key of a record at which it fails, and shows no value", async () => {
    const { status, stderr, output } = await jq(`kv_store: ${wrap('if .key == "k2" then .key.x else . end')}`);
    expect(status).toBe(5);
    expect(stderr).toMatch(/Cannot index string with string \[E_JQ\]\n {2}at section kv_store, record kv_id=22222222/);
    expect(stderr).not.toContain('"k2"');
    expect(() => read(output)).toThrow("ENOENT");
  });

  it("rejects the record with --on-error skip, as it came in", async () => {
    const target = fresh(".db");
    const rejects = fresh(".ndjson");
    const words = ["--on-error", "skip", "--rejects", rejects];
    const program = wrap('.key = .key + "!" | if .key == "k2!" then error("no") else . end');
    const run = await workspace.run([
      "storage",
      "import",
      "--database",
      target,
      "--input",
      input,
      "--jq",
      `kv_store: ${program}`,
      ...words,
    ]);
    expect(run.status, run.stderr).toBe(6);
    const [line = "", ...more] = read(rejects).trimEnd().split("\n");
    expect(more).toEqual([]);
    const reject = JSON.parse(line) as { record: { key: string } };
    expect(JSON.stringify(reject)).toContain("E_JQ");
    expect(reject.record.key).toBe("k2");
    const output = fresh(".json");
    await workspace.must(["storage", "export", "--database", target, "--output", output]);
    expect(read(output).match(/"key":"k\d!"/g)).toEqual(['"key":"k0!"', '"key":"k1!"', '"key":"k3!"']);
  });

  it.each([
    { program: ".key", code: "E_JQ", message: "gives a string for a record, not an object" },
    { program: "[.]", code: "E_JQ", message: "gives an array for a record, not an object" },
    { program: ".nonsense = 1", code: "E_FIELD_TYPE", message: "kv_store has no field nonsense" },
    { program: ".key = 1", code: "E_FIELD_TYPE", message: "expected a string, found a number" },
    { program: ".created_at = 1.5", code: "E_FIELD_TYPE", message: "expected an integer" },
    { program: "{key}", code: "E_MISSING_FIELD", message: "lacks a field" },
    { program: "del(.key)", code: "E_MISSING_FIELD", message: "lacks a field" },
  ])("refuses a result that is no record: $program", async ({ program, code, message }) => {
    const { status, stderr } = await jq(`kv_store: ${wrap(program)}`);
    expect(stderr).toContain(message);
    expect(stderr).toContain(`[${code}]`);
    expect(stderr).toContain("at section kv_store, record kv_id=22222220");
    expect(status).toBe(code === "E_JQ" ? 5 : 4);
  });
});

describe("several expressions", () => {
  it("apply in the order given", async () => {
    const found = await lines(
      ['kv_store: .key |= "x" + .', 'kv_store: select(.key != "xk1")', 'del(.data.kv_store[] | select(.key == "xk2"))'],
      '"kv_id"',
    );
    expect(found.map((line) => /"key":"(\w+)"/.exec(line)?.[1])).toEqual(["xk0", "xk3"]);
  });
});

describe("what is refused before anything is opened", () => {
  const refused = async (expression: string): Promise<Outcome> => {
    const run = await workspace.run([
      "storage",
      "export",
      "--database",
      "missing.db",
      "--output",
      "-",
      "--jq",
      expression,
    ]);
    expect(run.status, run.stderr).toBe(2);
    return run;
  };

  it.each([
    { expression: "kv_store: select(.key == )", column: 26 },
    { expression: "sessions: .a ||", column: 15 },
    { expression: 'kv_store: .key = "open', column: 18 },
    { expression: "kv_store: if .a then 1", column: 23 },
    { expression: "del(.data.sessions[] | select(.a == 1)", column: 39 },
    { expression: "kv_store: .a | nosuch(1)", column: 16 },
    { expression: "kv_store: .a = $x", column: 16 },
    { expression: "kv_store: .é", column: 12 },
  ])("$expression, at column $column", async ({ expression, column }) => {
    const { stderr } = await refused(expression);
    expect(stderr).toContain("E_JQ_SYNTAX");
    expect(stderr).toContain(`at column ${column}`);
    const [hint = "", caret = ""] = stderr.slice(stderr.indexOf("Hint: ")).split("\n");
    expect(hint).toBe(`Hint: ${expression}`);
    expect(caret).toBe(`${" ".repeat("Hint: ".length + column - 1)}^`);
  });

  it("a syntax error in the second line", async () => {
    const { stderr } = await refused("kv_store: .a |\n  .b ]");
    expect(stderr).toMatch(/at line 2, column 6 \[E_JQ_SYNTAX\]\nHint: {3}\.b \]\n {11}\^/);
  });

  it.each([
    ".data.sessions |= sort_by(.created_at)",
    ".data.sessions = .data.sessions[-5:]",
    ".data.sessions[].tenant_id = .data.sessions[0].tenant_id",
    '.data.sessions[0].status = "x"',
    ".data.sessions[]",
    '.version = "2"',
    ".data.sessions | length",
    ".data.sessions += .data.sessions",
    "{n: (.data.sessions | length), data: .data}",
    "walk(.)",
    "reduce .data.sessions[] as $s (.; .)",
    ".data.nonsense[].a = 1",
    "input",
  ])("the whole document at once: %s", async (expression) => {
    const { stderr } = await refused(expression);
    expect(stderr).toContain("E_JQ_UNSUPPORTED");
    expect(stderr).toContain(`Hint: On an exported file: jq '${expression}' in.json > out.json`);
  });

  it.each(["kv_store: input", "kv_store: [inputs]", "kv_store: debug", "kv_store: $ENV.PATH", "kv_store: env.PATH"])(
    "what reaches beyond the record: %s",
    async (expression) => {
      expect((await refused(expression)).stderr).toContain("reaches beyond the record [E_JQ_UNSUPPORTED]");
    },
  );

  it("a section that is not there", async () => {
    expect((await refused("nonsense: .")).stderr).toContain("unknown section: nonsense [E_USAGE]");
  });
});
