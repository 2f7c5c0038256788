/** jq programs, well-formed and not, over strange records: each ends, with records or with a coded error. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import fc from "fast-check";
import { exportStore, importStore } from "../../src/index.js";
import { programs } from "../transforms/jq/generated.js";
import { Findings, type FuzzOptions, mutateBytes, Random, timed } from "./fuzz.js";

const PIECES =
  `. .. .[] .metadata .key .metadata.a .metadata.long[] range(3) range(infinite) range(1e9) repeat(.) recurse
  recurse(.[]?) limit(3;.[]?) first(.[]?) until(true;.) while(false;.) [limit(5;repeat(1))] input inputs env $ENV now error
  error("x") error(null) halt halt_error debug stderr input_filename splits("a") test("(a|aa)+b") test("[") test("a";"x")
  match("a*";"g") sub("a";"b") gsub("";"x") scan("\\\\w+") ascii implode explode tojson fromjson todate fromdate mktime
  gmtime strftime("%Y") @base64d @sh @csv @tsv @html @uri @json getpath(["a"]) paths leaf_paths del(.) del(.key) del(..)
  to_entries from_entries with_entries(.) group_by(.) unique_by(.) min_by(.) flatten flatten(-1) splits("") ltrimstr(1)
  tojson|fromjson tonumber tostring ascii_downcase infinite nan -infinite isnan input_line_number $__loc__ $__prog_args
  limit(-1;1) nth(1;.[]?) indices("a") inside({}) combinations walk(.) transpose env.PATH ltrimstr("x") splits(1) getpath([])
  setpath(["metadata"];1) delpaths([["key"]]) to_entries[] add any all .[1:] .[:-1] .["a","b"] ."x" ."\\(1)" "\\(.)" {a:1}
  {(.key):1} {"a",b:2} [.[]?] {} [] null true 1 -1 1e1000 0.1 "x" "\\u0000" "\\ud800" input_line_number getpath(1) tojson
  limit(0;error) isvalid(.) splits("a";"g") ascii(65) @text @base32 @base32d ltrimstr significand drem(1;2) ldexp(1;2)
  scalb(1;2) nearbyint trunc getpath(["metadata","a"]) error({}) try(error) (.a?) .a? ..? .[]? [..] tojson test("\\\\d{1000}")
  reduce(range(10))as$x(0;.+$x) foreach(range(3))as$x(0;.+$x) label$f|break$f "x"*1e9 "x"*100
  ([range(1000)]|sort) ([range(1e6)]|length) splits`
    .split(/\s+/)
    .map((piece) => piece.replaceAll("\\u0020", " "));
const JOINTS = [
  "|",
  ",",
  "+",
  "-",
  "*",
  "/",
  "%",
  "//",
  "==",
  "<",
  " and ",
  " or ",
  "|=",
  "=",
  "+=",
  "//=",
  " as $x | ",
  ";",
  "?//",
];
const WRAPS: readonly ((inner: string) => string)[] = [
  (inner) => `(${inner})`,
  (inner) => `[${inner}]`,
  (inner) => `{a: (${inner})}`,
  (inner) => `try (${inner}) catch .`,
  (inner) => `if ${inner} then . else empty end`,
  (inner) => `map(${inner})`,
  (inner) => `.metadata |= (${inner})`,
  (inner) => `.metadata = [limit(10; ${inner})]`,
  (inner) => `select(${inner})`,
  (inner) => `reduce (${inner}) as $x (0; . + 1)`,
  (inner) => `first(${inner})`,
  (inner) => `def f(x): x; f(${inner})`,
  (inner) => `label $out | (${inner}) | ., break $out`,
  (inner) => `.data.kv_store[] |= (${inner})`,
  (inner) => `del(.data.kv_store[] | select(${inner}))`,
  (inner) => "(".repeat(3000) + inner + ")".repeat(3000),
  (inner) => `${inner}${"|.".repeat(5000)}`,
];

function programOf(random: Random, seed: number): string {
  let program = random.chance(3) ? (fc.sample(programs, { seed, numRuns: 1 })[0] as string) : random.pick(PIECES);
  for (let count = random.integer(4); count > 0; count--)
    program = random.chance(2) ? random.pick(WRAPS)(program) : `${program}${random.pick(JOINTS)}${random.pick(PIECES)}`;
  if (random.chance(6)) program = mutateBytes(Buffer.from(program), random).toString("utf8");
  return random.chance(4) ? program : `kv_store: ${program}`;
}

const METADATA = [
  ...[
    "null",
    "{}",
    "[]",
    "1",
    '"x"',
    '{"a":[1,2,{"b":null}],"long":["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","b"]}',
    "[[[[]]]]",
    '{"a":1e400}',
  ],
  ...[
    '{"\\u0000":"\\u0000"}',
    '{"a":"\\ud800"}',
    `"${"_".repeat(3000)}"`,
    `${"[".repeat(500)}${"]".repeat(500)}`,
    "-0",
    "123456789012345678901234567890",
  ],
  `[${Array.from({ length: 3000 }, (_, at) => at).join(",")}]`,
];

export async function fuzzJqPrograms(options: FuzzOptions, timeoutSeconds = 1): Promise<Findings> {
  const findings = new Findings();
  const folder = mkdtempSync(join(tmpdir(), "llmspell-fuzz-"));
  try {
    const input = join(folder, "input.json");
    const records = METADATA.map(
      (
        metadata,
        at,
      ) => `{"kv_id":"222222${at + 10}-1111-4111-8111-111111111111","tenant_id":"a","key":"k${at}","value":"AP/+",
        "metadata":${metadata},"created_at":1700000000000000,"updated_at":1700000000654321}`,
    );
    writeFileSync(
      input,
      `{"version":"1.0","source_backend":"sqlite","producer":"t","migrations":["V1"],"data":{"kv_store":[${records}]}}`,
    );
    const database = join(folder, "source.db");
    await importStore({ from: input, to: database });
    for (let run = 0; run < options.runs && findings.list.length <= 20; run++) {
      const seed = options.seed + run;
      const random = new Random(seed);
      const expression = programOf(random, seed);
      const skips = random.chance(2);
      try {
        await timed(findings, seed, () =>
          exportStore({
            from: database,
            to: new Writable({ write: (_chunk, _encoding, done) => done() }),
            transforms: [{ type: "jq", expression }],
            jqTimeoutSeconds: timeoutSeconds,
            // A record that hangs costs its second: not all of them.
            limit: 1 + random.integer(4),
            ...(skips ? { onReject: ({ error }) => void findings.checkError(seed, error) } : {}),
          }),
        );
        findings.count("exported");
      } catch (error) {
        const before = findings.list.length;
        findings.count(findings.checkError(seed, error));
        if (findings.list.length > before)
          findings.add(seed, `the program was ${JSON.stringify(expression.slice(0, 300))}`);
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return findings;
}
