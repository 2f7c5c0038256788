/** Ends of the command of every kind, most of them early: each comes, with a documented status, and leaves nothing. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { EXIT } from "../../src/errors.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, outcomeOf, WITH_ALLOCATOR, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { Findings, type FuzzOptions, HANG_MILLISECONDS, Random } from "./fuzz.js";

/** Those of signals as a shell tells them: 129 is a hang-up before the command had begun. */
const STATUSES = new Set<number | null>([...Object.values(EXIT), 129, 130, 141, 143]);
/** Commands at a time: garbage is collected beside an end, as it is where there is other work. */
const AT_A_TIME = 3;
const NAMES = ["out.json", "out.json.gz", "out.json.zst"];

/** A shell's line that runs one command, and what it is called in the report. Files go to `$1`. */
function lineOf(random: Random): readonly [what: string, line: string] {
  // Units of 512 bytes; the document has some 9 MB, the database more.
  const limit = random.chance(4) ? random.integer(64) : random.integer(24000);
  const name = random.pick(NAMES);
  const exported = "llmspell storage export --database source.db --no-progress";
  const imported = "llmspell storage import --input source.json --no-progress";
  switch (random.integer(8)) {
    case 0:
    case 1:
      return ["export, limited", `ulimit -f ${limit}; ${exported} --output "$1/${name}"`];
    case 2:
      return ["import, limited", `ulimit -f ${limit}; ${imported} --database "$1/new.db"`];
    case 3:
      return ["migrate, limited", `ulimit -f ${limit}; llmspell storage migrate --from source.db --to "$1/new.db"`];
    case 4:
      return ["full device", `${exported} --output ${random.pick(["-", "/dev/full"])} >/dev/full`];
    case 5:
      return [
        "closed pipe",
        `set -o pipefail; ${exported} --output - | head -c ${random.integer(12_000_000)} >/dev/null`,
      ];
    case 6: {
      const signal = random.pick(["INT", "TERM", "HUP"]);
      const command = random.pick([`${exported} --output "$1/${name}"`, `${imported} --database "$1/new.db"`]);
      // The second signal, if it comes to that, ends it at once.
      return ["signal", `${command} & sleep 0.${random.integer(10)}; kill -${signal} $! 2>/dev/null; wait $!`];
    }
    default:
      return ["whole", random.pick([`${exported} --output "$1/${name}"`, `${imported} --database "$1/new.db"`])];
  }
}

async function endOnce(workspace: Workspace, seed: number, findings: Findings): Promise<void> {
  const random = new Random(seed);
  const [what, line] = lineOf(random);
  const folder = workspace.path(`case-${seed}`);
  mkdirSync(folder);
  const child = workspace.startBash(line, {}, folder);
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    findings.add(seed, `it hangs: ${line}`);
    process.kill(-(child.pid as number), "SIGKILL");
  }, HANG_MILLISECONDS);
  const { status, stderr } = await outcomeOf(child);
  clearTimeout(timer);
  if (hung) findings.count(`${what}: hang`);
  else {
    findings.count(`${what}: ${status}`);
    if (!STATUSES.has(status)) findings.add(seed, `status ${status}: ${line}\n${stderr}`);
    if (stderr.includes("E_UNEXPECTED")) findings.add(seed, `${line}\n${stderr}`);
    const left = readdirSync(folder).filter((file) => status !== EXIT.done || !/^(out|new)\./.test(file));
    if (left.length > 0) findings.add(seed, `status ${status}, left: ${left.join(", ")}: ${line}\n${stderr}`);
  }
  rmSync(folder, { recursive: true, force: true });
}

export async function endCommands(options: FuzzOptions): Promise<Findings> {
  const findings = new Findings();
  using workspace = createWorkspace(WITH_ALLOCATOR);
  createLlmspellSqlite(workspace.path("source.db"));
  fillSqlite(workspace.path("source.db"), { records: 300, contentSizes: [3 * 1048576, 1048576, 5] });
  await workspace.must(["storage", "export", "--database", "source.db", "--output", "source.json"]);
  let run = 0;
  const worker = async (): Promise<void> => {
    while (run < options.runs && findings.list.length <= 20) await endOnce(workspace, options.seed + run++, findings);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  return findings;
}
