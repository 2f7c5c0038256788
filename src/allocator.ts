import { availableParallelism } from "node:os";
import { inheritedDescriptors } from "./descriptors.js";

/**
 * glibc keeps memory that large values leave: it raises its own threshold for handing them out page by page to the largest
 * that it has seen (mallopt(3), "M_MMAP_THRESHOLD"), and has a heap per thread. SQLite's driver copies contents of megabytes
 * through it. The settings are read when a process starts, so the process starts itself anew, once: 30 ms for 20 to 40 MB
 * (bench/README.md). Elsewhere than on glibc nothing reads them.
 */
const settingsFor = (argv: readonly string[]): Readonly<Record<string, string>> => ({
  // A heap for each thread that reads: with one they would wait for each other.
  MALLOC_ARENA_MAX: `${jobsOf(argv)}`,
  MALLOC_MMAP_THRESHOLD_: "262144",
  MALLOC_TRIM_THRESHOLD_: "2097152",
});

/** What `--jobs` says, as far as it is valid. */
function jobsOf(argv: readonly string[]): number {
  const at = argv.findIndex((arg) => /^--jobs(=|$)/.test(arg));
  const given = at === -1 ? "1" : ((argv[at]?.slice("--jobs=".length) || argv[at + 1]) ?? "1");
  return given === "auto" ? availableParallelism() : Math.max(1, Number.parseInt(given, 10) || 1);
}

/** Does not return where it starts anew. To be called before anything is read, written or opened. */
export function settleAllocator(argv: readonly string[]): void {
  if (process.platform !== "linux" || process.execve === undefined || !movesThroughSqlite(argv)) return;
  // A parent's channel (child_process.fork) would not survive it.
  if (process.send !== undefined) return;
  // Whoever sets one of them, this function among them, has chosen.
  const settings = settingsFor(argv);
  if (Object.keys(settings).some((name) => process.env[name] !== undefined)) return;
  // Node marks what it inherits close-on-exec: a descriptor that a shell handed over would be gone.
  if (argv.some((arg) => NAMES_DESCRIPTOR.test(arg)) || inheritedDescriptors()?.length !== 0) return;
  // No flags for V8 among them: with --optimize-for-size its threads can hang at the end (nodejs/node#54918).
  process.execve(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
    ...process.env,
    ...settings,
  });
}

const NAMES_DESCRIPTOR = /\/dev\/fd\/|\/proc\/[^/]+\/(task\/[^/]+\/)?fd\//;
/** Unless all the databases that the command names are PostgreSQL's, which need no more memory without. */
function movesThroughSqlite([group, command, ...rest]: readonly string[]): boolean {
  if (group !== "storage" || !["export", "import", "migrate", "verify"].includes(command ?? "")) return false;
  const named = rest.filter((arg) => /^(--\w+=)?postgres(ql)?(:|$)/.test(arg));
  return named.length < (command === "migrate" || command === "verify" ? 2 : 1);
}
