/**
 * The commands, as data: what each is called, takes and runs.
 * Over 300 lines: one entry per command, in the order of the help.
 */
import { Argument, type Command, Option } from "commander";
import { StorageError } from "../../errors.js";
import {
  asOwnerOption,
  digestOptions,
  documentOptions,
  documentReadingOptions,
  exactOption,
  jobsOption,
  loadOptions,
  lockTimeoutOption,
  measureOption,
  migrateOptions,
  planOptions,
  rateOption,
  required,
  sourceOptions,
  storeOptions,
  strictOption,
  tenantsOption,
  transferOptions,
  transformOptions,
  validateOptions,
  verifyOptions,
  watchOption,
} from "./options.js";
import { queueOptions, workerOptions } from "./queue-options.js";

/** What a command's run is given besides its flags and words. */
export interface CommandRun {
  readonly signal: AbortSignal;
  readonly program: Command;
}

export interface CommandDefinition {
  /** With its groups: `database migrations list`. */
  readonly name: string;
  readonly description: string;
  readonly examples: readonly string[];
  /** It changes nothing and writes no file: what it prints is all there is of it. */
  readonly onlyPrints?: true;
  /** Made anew for each program: options keep what was parsed. */
  readonly options: () => readonly Option[];
  readonly words?: () => readonly Argument[];
  /** Loads the command's code and runs it; gives the exit status. */
  // biome-ignore lint/suspicious/noExplicitAny: commander hands over the flags that `options` declares
  readonly run: (flags: any, run: CommandRun, ...words: string[]) => Promise<number>;
}

/** What commands are grouped by, with what the help says of each. */
export const GROUPS: Readonly<Record<string, string>> = {
  storage: "move records between databases and export documents",
  database: "the schema and the health of a database",
  "database migrations": "the schema's migrations",
};

const plan: typeof import("../plan.js").runPlan = async (...run) => (await import("../plan.js")).runPlan(...run);

/** Options of runs that a plan has no use for, or does not foretell. */
const UNPLANNED = [
  "--report",
  "--rejects",
  "--dry-run",
  "--prune",
  "--allow-empty",
  "--require-empty",
  "--digests",
  "--tenants-from",
  "--jobs",
  "--verify-parts",
  "--index-jobs",
  "--rate",
  "--max-lag",
];

/** Options of loads that no run takes. */
const NOT_OF_RUNS = [
  "--limit",
  "--on-error",
  "--rejects",
  "--id-map",
  "--vectors-as",
  "--dry-run",
  "--prune",
  "--allow-empty",
  "--require-empty",
];

const ofRuns = (options: readonly Option[]): Option[] =>
  options.filter(({ long }) => !NOT_OF_RUNS.includes(long ?? ""));

const planned = (options: readonly Option[]): Option[] => options.filter(({ long }) => !UNPLANNED.includes(long ?? ""));

/** E_USAGE for --exact or --measure of a run that is no plan. */
function isPlan(flags: { readonly plan?: boolean; readonly exact?: boolean; readonly measure?: boolean }): boolean {
  if (flags.exact && !flags.plan) throw new StorageError("E_USAGE", "--exact needs --plan");
  if (flags.measure && !flags.plan) throw new StorageError("E_USAGE", "--measure needs --plan");
  return flags.plan === true;
}

/** In the order of the help. */
export const COMMANDS: readonly CommandDefinition[] = [
  {
    name: "storage export",
    description: "write a database's records as one export document",
    examples: [
      "llmspell storage export --backend sqlite --output dev-data.json",
      "llmspell storage export --backend postgres --output - | gzip > export.json.gz",
      "llmspell storage export --backend postgres --tenant acme --include sessions --output acme.json.zst",
      "llmspell storage export --backend postgres --output staging.json --mask sessions.session_data.email=email",
    ],
    options: () => [
      ...documentOptions(),
      jobsOption(),
      ...storeOptions(),
      ...transferOptions(),
      ...transformOptions(),
      ...sourceOptions(),
      ...planOptions(),
    ],
    run: async (flags, { signal }) =>
      isPlan(flags) ? plan(flags, signal, "export") : (await import("../export.js")).runExport(flags, signal),
  },
  {
    name: "storage import",
    description: "load an export document into a database: one transaction, all or nothing",
    examples: [
      "llmspell storage import --backend postgres --input dev-data.json",
      "gunzip -c export.json.gz | llmspell storage import --backend sqlite --input -",
      "llmspell storage import --backend postgres --input data.json --dry-run",
      "llmspell storage import --backend postgres --input data.json --on-error skip --rejects rejects.ndjson",
    ],
    options: () => [
      required(
        "--input <FILE>",
        "the document: a file, a directory, or - for standard input; gzip and zstd are recognised",
      ),
      ...storeOptions(),
      ...transferOptions(),
      ...transformOptions(),
      ...loadOptions(),
      ...planOptions(),
    ],
    run: async (flags, { signal }) =>
      isPlan(flags) ? plan(flags, signal, "import") : (await import("../import.js")).runImport(flags, signal),
  },
  {
    name: "storage migrate",
    description: "copy from database to database, with no file between",
    examples: [
      "llmspell storage migrate --from ~/.local/share/llmspell/llmspell.db --to postgres",
      "llmspell storage migrate --from postgresql://llmspell@localhost/llmspell --to copy.db",
    ],
    options: () => [
      required("--from <STORE>", "the store to read"),
      required("--to <STORE>", "the database to write"),
      ...transferOptions(),
      ...transformOptions(),
      ...loadOptions(),
      ...queueOptions(),
      ...sourceOptions(),
      ...planOptions(),
    ],
    run: async (flags, { signal }) =>
      isPlan(flags) ? plan(flags, signal, "migrate") : (await import("../migrate.js")).runMigrate(flags, signal),
  },
  {
    name: "storage rewrite",
    description: "write a document's records as another document: all transforms, another compression",
    examples: [
      "llmspell storage rewrite --input full.json --output new.json --jq '.data.sessions = .data.sessions[:5]'",
      "llmspell storage rewrite --input full.json.gz --output staging.json.zst --mask sessions.session_data.email=email",
      "gunzip -c full.json.gz | llmspell storage rewrite --input - --output - --tenant acme | gzip > acme.json.gz",
    ],
    options: () => [
      required(
        "--input <FILE>",
        "the document: a file, a directory, or - for standard input; gzip and zstd are recognised",
      ),
      ...documentOptions(),
      jobsOption(),
      ...transferOptions(),
      ...transformOptions(),
      ...documentReadingOptions(),
    ],
    run: async (flags, { signal }) => (await import("../rewrite.js")).runRewrite(flags, signal),
  },
  {
    name: "storage validate",
    onlyPrints: true,
    description: "find all that an import of a document would refuse, without a database",
    examples: [
      "llmspell storage validate backup.json.gz",
      "llmspell storage validate dev-data.json --for postgres --findings findings.ndjson",
      "gunzip -c export.json.gz | llmspell storage validate - --for sqlite",
    ],
    words: () => [
      new Argument("<DOCUMENT>", "a file, a directory, or - for standard input; gzip and zstd are recognised"),
    ],
    options: () => validateOptions(),
    run: async (flags, { signal }, document) =>
      (await import("../validate.js")).runValidate(flags, signal, document as string),
  },
  {
    name: "storage plan",
    onlyPrints: true,
    description: "what an export, an import or a migration would do; writes nothing",
    examples: [
      "llmspell storage plan --from ~/.local/share/llmspell/llmspell.db --to postgres",
      "llmspell storage plan --input dev-data.json --backend postgres --exact",
      "llmspell storage plan --backend postgres --output dev-data.json --json",
    ],
    options: () => [
      new Option("--from <STORE>", "the store to read"),
      new Option("--to <STORE>", "the store to write"),
      new Option("--input <FILE>", "the document to read, instead of --from"),
      ...documentOptions().map((option) => (option.long === "--output" ? option.makeOptionMandatory(false) : option)),
      exactOption(),
      measureOption(),
      ...storeOptions(),
      ...planned(transferOptions()),
      ...transformOptions(),
      ...planned(loadOptions()),
      ...sourceOptions(),
    ],
    run: (flags, { signal }) => plan(flags, signal),
  },
  {
    name: "storage info",
    onlyPrints: true,
    description: "what a store holds, and what an export of it would meet: versions, counts, sizes, shapes",
    examples: ["llmspell storage info --backend postgres", "llmspell storage info backup.json.gz"],
    words: () => [new Argument("[STORE]", "a database or a document; default: as --backend says")],
    options: () => [...storeOptions(), tenantsOption(), asOwnerOption(), lockTimeoutOption(), strictOption()],
    run: async (flags, { signal }, store) => (await import("../info.js")).runInfo(flags, signal, store),
  },
  {
    name: "storage verify",
    onlyPrints: true,
    description: "whether two stores hold the same records: identical, equal by meaning, or what differs",
    examples: [
      "llmspell storage verify sqlite postgres",
      "llmspell storage verify llmspell.db backup.json.zst --strict",
      "llmspell storage verify sqlite staging.db --mask sessions.session_data.email=email --differences diff.ndjson",
    ],
    words: () => [
      new Argument("<A>", "the original: a database, a document, or - for standard input"),
      new Argument("<B>", "its copy; transforms and --tenant say what became of A on the way"),
    ],
    options: () => [...verifyOptions(), ...transformOptions()],
    run: async (flags, { signal }, a, b) => (await import("../verify.js")).runVerify(flags, signal, a, b),
  },
  {
    name: "storage digest",
    onlyPrints: true,
    description: "what a store's records mean, as a line per section: equal for stores that hold the same",
    examples: [
      "llmspell storage digest --backend sqlite",
      "llmspell storage digest backup.json.zst --exclude event_log --json",
    ],
    words: () => [new Argument("[STORE]", "a database or a document; default: as --backend says")],
    options: () => [...storeOptions(), ...digestOptions()],
    run: async (flags, { signal }, store) => (await import("../digest.js")).runDigest(flags, signal, store),
  },
  {
    name: "storage runs",
    description: "loads over several connections (--jobs): which there were, and what of the unfinished one is there",
    examples: ["llmspell storage runs --backend postgres", "llmspell storage runs --backend postgres --watch"],
    onlyPrints: true,
    options: () => [...storeOptions(), watchOption()],
    run: async (flags, { signal }) => (await import("../runs.js")).runRuns(flags, signal),
  },
  {
    name: "storage resume",
    description: "go on with a run that came to no end, from its source as it is now",
    examples: [
      "llmspell storage resume --backend postgres --input dev-data.json",
      "llmspell storage resume --from ~/.local/share/llmspell/llmspell.db --to postgres --jobs 4",
    ],
    options: () => [
      new Option("--input <FILE>", "the document that the run was begun from"),
      new Option("--from <STORE>", "the store that the run was begun from"),
      new Option("--to <STORE>", "with --from: the database that was loaded"),
      ...storeOptions(),
      ...ofRuns(transferOptions()),
      ...transformOptions(),
      ...ofRuns(loadOptions()),
      ...queueOptions(),
      ...sourceOptions(),
    ],
    run: async (flags, { signal }) => (await import("../runs.js")).runResume(flags, signal),
  },
  {
    name: "storage undo",
    description: "take back what an unfinished run has loaded; records that others added or changed stay",
    examples: ["llmspell storage undo --backend postgres"],
    options: () => [...storeOptions(), lockTimeoutOption()],
    run: async (flags, { signal }) => (await import("../runs.js")).runUndo(flags, signal),
  },
  {
    name: "storage worker",
    description: "load parts of runs that `storage migrate --queue` coordinates, on any machine, until it is ended",
    examples: [
      "llmspell storage worker --queue postgresql://llmspell@target.example/llmspell",
      "llmspell storage worker --queue postgresql://llmspell@target.example/llmspell --jobs 4",
    ],
    options: () => [...workerOptions(), ...transformOptions(), lockTimeoutOption(), rateOption()],
    run: async (flags, { signal }) => (await import("../worker.js")).runWorker(flags, signal),
  },
  {
    name: "database migrate",
    description: "create or complete the schema",
    examples: ["llmspell database migrate", "llmspell database migrate --database pglite:./embedded"],
    options: () => [...storeOptions(), ...migrateOptions()],
    run: async (flags, { signal }) => (await import("../database.js")).runDatabaseMigrate(flags, signal),
  },
  {
    name: "database health",
    onlyPrints: true,
    description: "versions, migrations, row-level security, and what the role may do",
    examples: ["llmspell database health --backend postgres", "llmspell database health --strict"],
    options: () => [...storeOptions(), new Option("--strict", "exit non-zero also when migrations are pending")],
    run: async (flags, { signal }) => (await import("../database.js")).runDatabaseHealth(flags, signal),
  },
  {
    name: "database migrations list",
    onlyPrints: true,
    description: "which migrations are applied, and which are not",
    examples: ["llmspell database migrations list --backend postgres"],
    options: () => storeOptions(),
    run: async (flags, { signal }) => (await import("../database.js")).runMigrationsList(flags, signal),
  },
  {
    name: "explain",
    onlyPrints: true,
    description: "what an error's code means, what causes it, and what to do",
    examples: ["llmspell explain E_ORPHAN", "llmspell explain"],
    words: () => [new Argument("[CODE]", "an error's code; without one all codes are listed")],
    options: () => [],
    run: async (flags, _, code) => (await import("../explain.js")).runExplain(flags, code),
  },
  {
    name: "completion",
    onlyPrints: true,
    description: "print the completions for a shell",
    examples: [
      "source <(llmspell completion bash)",
      "llmspell completion zsh > ~/.zfunc/_llmspell-storage",
      "llmspell completion fish > ~/.config/fish/completions/llmspell-storage.fish",
    ],
    words: () => [new Argument("<SHELL>", "the shell").choices(["bash", "zsh", "fish"])],
    options: () => [],
    run: async (flags, { program }, shell) =>
      (await import("../completion/completion.js")).runCompletion(flags, shell as string, program),
  },
];
