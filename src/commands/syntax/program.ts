/**
 * The command line: argv -> command -> exit status. Each command's code is loaded when it is run.
 * Over 300 lines: one entry per command, in the order of the help.
 */
import { Argument, Command, CommanderError, Option } from "commander";
import { EXIT, StorageError, toStorageError } from "../../errors.js";
import { commandWords } from "../../llmspell/program/handover.js";
import { redact, redactUnknown } from "../../redaction.js";
import { VERSION } from "../../version.js";
import type { CommonFlags } from "../transfer.js";
import { nearest } from "./nearest.js";
import { inGroups } from "./option-groups.js";
import {
  asOwnerOption,
  commonOptions,
  configOption,
  digestOptions,
  documentOptions,
  documentReadingOptions,
  exactOption,
  loadOptions,
  lockTimeoutOption,
  migrateOptions,
  planOptions,
  required,
  sourceOptions,
  storeOptions,
  strictOption,
  tenantsOption,
  transferOptions,
  transformOptions,
  validateOptions,
  verifyOptions,
} from "./options.js";

/** Both names of the program. */
export type ProgramName = "llmspell" | "llmspell-storage";

/** Runs one command line. Never throws, never ends the process. */
export async function runCommandLine(
  argv: readonly string[],
  signal: AbortSignal,
  name: ProgramName = "llmspell",
): Promise<number> {
  let flags: CommonFlags & { readonly output?: string } = commonFlagsOf(argv);
  let status: number = EXIT.done;
  const program = createProgram(
    async (command, run) => {
      flags = command.optsWithGlobals();
      status = await run();
    },
    signal,
    name,
  );
  try {
    const asked = askedAbout(program, argv);
    if (asked !== undefined) {
      asked.outputHelp();
      return status;
    }
    await program.parseAsync([...argv], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
    const failure = failureOf(error, signal, program);
    await show(failure, flags);
    return failure.exitStatus;
  }
}

/** Shows an error that came when the command was done. */
export function reportFailure(error: StorageError, argv: readonly string[]): Promise<void> {
  return show(error, commonFlagsOf(argv));
}

async function show(error: StorageError, flags: CommonFlags & { readonly output?: string }): Promise<void> {
  // A reader that went away wants to hear nothing more.
  if (error.code === "E_CLOSED_PIPE") return;
  const { createOutput } = await import("../shown/output.js");
  createOutput({ ...flags, documentOnStdout: flags.output === "-" }).error(error);
}

/** A signal's error counts more than what ending the run early led to, unless that says what became of the data. */
function failureOf(error: unknown, signal: AbortSignal, program: Command): StorageError {
  if (error instanceof StorageError && error.context.outcomeUnknown) return error;
  if (signal.aborted && signal.reason instanceof StorageError) return signal.reason;
  return error instanceof CommanderError ? usageError(error, program) : toStorageError(error);
}

/** Commands that change nothing and write no file: what they print is all there is of them. */
const ONLY_PRINT: readonly string[] = [
  "storage info",
  "storage validate",
  "storage verify",
  "storage digest",
  "storage plan",
  "database health",
  "database migrations",
  "explain",
  "completion",
];

export function onlyPrints(argv: readonly string[]): boolean {
  const words = argv.slice(0, 2);
  return ONLY_PRINT.some((command) => command === words.join(" ") || command === words[0]);
}

/** What an error that comes before any command is parsed, or after it was done, has to know. */
export function commonFlagsOf(argv: readonly string[]): CommonFlags & { readonly output?: string } {
  const logFormat = argv.some(
    (word, at) => word === "--log-format=json" || (word === "--log-format" && argv[at + 1] === "json"),
  );
  const toStdout = argv.some((word, at) => word === "--output=-" || (word === "--output" && argv[at + 1] === "-"));
  return {
    json: argv.includes("--json"),
    verbose: argv.includes("--verbose"),
    ...(logFormat ? { logFormat: "json" as const } : {}),
    ...(toStdout ? { output: "-" } : {}),
  };
}

function usageError(error: CommanderError, program: Command): StorageError {
  if (error.code === "commander.help") {
    return new StorageError("E_USAGE", "no command is given", {
      hint: `The commands are ${commandNames(program).join(", ")}.`,
    });
  }
  // An option's argument may be a URL, where another option was meant.
  const text = error.message.replace(
    / argument '(.*)' is invalid/s,
    (_, value) => ` argument '${redactUnknown(value)}' is invalid`,
  );
  const [message = "", ...suggestion] = redact(text.replace(/^error: /, "")).split("\n");
  const suggested = suggestion.join(" ").replace(/^\((.*)\)$/, "$1");
  const known =
    error.code === "commander.unknownCommand" ? `The commands are ${commandNames(program).join(", ")}.` : "See --help.";
  return new StorageError("E_USAGE", message, { hint: `${suggested} ${known}`.trim() });
}

/** `storage export`, `database migrations list`, … */
export function commandNames(parent: Command, prefix = ""): string[] {
  return parent.commands.flatMap((command) => {
    const name = `${prefix}${command.name()}`;
    return command.commands.length === 0 ? [name] : commandNames(command, `${name} `);
  });
}

/** The command that `help storage export`, or `storage help export`, asks about. E_USAGE where there is none. */
function askedAbout(program: Command, argv: readonly string[]): Command | undefined {
  const words = commandWords(argv);
  const at = words.indexOf("help");
  if (at < 0) return undefined;
  const named = (parent: Command, word: string) => parent.commands.find((command) => command.name() === word);
  let asked: Command | undefined = program;
  for (const word of words.slice(0, at)) asked = asked && named(asked, word);
  // What a command of ours takes may be called help.
  if (asked === undefined || asked.commands.length === 0) return undefined;
  for (const word of words.slice(at + 1).filter((each) => !each.startsWith("-"))) {
    const next: Command | undefined = named(asked, word);
    if (next === undefined) throw unknownCommand(word, asked, program);
    asked = next;
  }
  return asked;
}

function unknownCommand(word: string, parent: Command, program: Command): StorageError {
  const names = parent.commands.map((command) => command.name());
  const meant = nearest(word, names);
  const suggestion = meant === undefined ? "" : `Did you mean ${meant}? `;
  return new StorageError("E_USAGE", `unknown command '${word}'`, {
    hint: `${suggestion}The commands are ${commandNames(program).join(", ")}.`,
  });
}

type Dispatch = (command: Command, run: () => Promise<number>) => Promise<void>;

interface Leaf {
  readonly name: string;
  readonly description: string;
  readonly examples: readonly string[];
  readonly options: readonly Option[];
  readonly words?: readonly Argument[];
  /** Loads the command's code and runs it; gives the exit status. */
  // biome-ignore lint/suspicious/noExplicitAny: commander hands over the flags that `options` declares
  readonly run: (flags: any, signal: AbortSignal, ...words: string[]) => Promise<number>;
}

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
];

const planned = (options: readonly Option[]): Option[] => options.filter(({ long }) => !UNPLANNED.includes(long ?? ""));

/** E_USAGE for --exact of a run that is no plan. */
function isPlan(flags: { readonly plan?: boolean; readonly exact?: boolean }): boolean {
  if (flags.exact && !flags.plan) throw new StorageError("E_USAGE", "--exact needs --plan");
  return flags.plan === true;
}

const examples = new WeakMap<Command, readonly string[]>();

/** The command's examples; none for a group of commands. */
export function examplesOf(command: Command): readonly string[] {
  return examples.get(command) ?? [];
}

const HANDED_OVER = "Every other command of llmspell is handed to the next llmspell on the PATH.\n";

/** The commands; `dispatch` runs the one that the command line names. `called`: what the user calls the program. */
export function createProgram(dispatch: Dispatch, signal: AbortSignal, called: ProgramName = "llmspell"): Command {
  const program = prepare(new Command(called))
    .description("Lossless export, import and migration of llmspell storage between SQLite and PostgreSQL.")
    .version(`llmspell-storage ${VERSION}`, "-V, --version", "print the version")
    .addOption(configOption())
    .addHelpText("after", `\n${called === "llmspell" ? HANDED_OVER : ""}Documentation: docs/command-line.md`);
  const add = (parent: Command, name: string, description: string): Command =>
    prepare(parent.command(name).description(description));
  const group = (parent: Command, name: string, description: string): Command =>
    add(parent, name, description).addOption(configOption());
  const leaf = (parent: Command, { name, description, options, words = [], run, ...leaf }: Leaf): void => {
    const command = add(parent, name, description);
    for (const option of inGroups([...options, ...commonOptions(), configOption()])) command.addOption(option);
    for (const word of words) command.addArgument(word);
    const shown = leaf.examples.map((example) => example.replaceAll(/\bllmspell (?=[a-z])/g, `${called} `));
    examples.set(command, shown);
    command
      .addHelpText("after", `\nExamples:\n${shown.map((example) => `  ${example}`).join("\n")}`)
      .action(() => dispatch(command, () => run(command.optsWithGlobals(), signal, ...command.args)));
  };

  const storage = group(program, "storage", "move records between databases and export documents");
  leaf(storage, {
    name: "export",
    description: "write a database's records as one export document",
    examples: [
      "llmspell storage export --backend sqlite --output dev-data.json",
      "llmspell storage export --backend postgres --output - | gzip > export.json.gz",
      "llmspell storage export --backend postgres --tenant acme --include sessions --output acme.json.zst",
      "llmspell storage export --backend postgres --output staging.json --mask sessions.session_data.email=email",
    ],
    options: [
      ...documentOptions(),
      ...storeOptions(),
      ...transferOptions(),
      ...transformOptions(),
      ...sourceOptions(),
      ...planOptions(),
    ],
    run: async (flags, abort) =>
      isPlan(flags) ? plan(flags, abort, "export") : (await import("../export.js")).runExport(flags, abort),
  });
  leaf(storage, {
    name: "import",
    description: "load an export document into a database: one transaction, all or nothing",
    examples: [
      "llmspell storage import --backend postgres --input dev-data.json",
      "gunzip -c export.json.gz | llmspell storage import --backend sqlite --input -",
      "llmspell storage import --backend postgres --input data.json --dry-run",
      "llmspell storage import --backend postgres --input data.json --on-error skip --rejects rejects.ndjson",
    ],
    options: [
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
    run: async (flags, abort) =>
      isPlan(flags) ? plan(flags, abort, "import") : (await import("../import.js")).runImport(flags, abort),
  });
  leaf(storage, {
    name: "migrate",
    description: "copy from database to database, with no file between",
    examples: [
      "llmspell storage migrate --from ~/.local/share/llmspell/llmspell.db --to postgres",
      "llmspell storage migrate --from postgresql://llmspell@localhost/llmspell --to copy.db",
    ],
    options: [
      required("--from <STORE>", "the store to read"),
      required("--to <STORE>", "the database to write"),
      ...transferOptions(),
      ...transformOptions(),
      ...loadOptions(),
      ...sourceOptions(),
      ...planOptions(),
    ],
    run: async (flags, abort) =>
      isPlan(flags) ? plan(flags, abort, "migrate") : (await import("../migrate.js")).runMigrate(flags, abort),
  });
  leaf(storage, {
    name: "rewrite",
    description: "write a document's records as another document: all transforms, another compression",
    examples: [
      "llmspell storage rewrite --input full.json --output new.json --jq '.data.sessions = .data.sessions[:5]'",
      "llmspell storage rewrite --input full.json.gz --output staging.json.zst --mask sessions.session_data.email=email",
      "gunzip -c full.json.gz | llmspell storage rewrite --input - --output - --tenant acme | gzip > acme.json.gz",
    ],
    options: [
      required(
        "--input <FILE>",
        "the document: a file, a directory, or - for standard input; gzip and zstd are recognised",
      ),
      ...documentOptions(),
      ...transferOptions(),
      ...transformOptions(),
      ...documentReadingOptions(),
    ],
    run: async (flags, abort) => (await import("../rewrite.js")).runRewrite(flags, abort),
  });
  leaf(storage, {
    name: "validate",
    description: "find all that an import of a document would refuse, without a database",
    examples: [
      "llmspell storage validate backup.json.gz",
      "llmspell storage validate dev-data.json --for postgres --findings findings.ndjson",
      "gunzip -c export.json.gz | llmspell storage validate - --for sqlite",
    ],
    words: [new Argument("<DOCUMENT>", "a file, a directory, or - for standard input; gzip and zstd are recognised")],
    options: validateOptions(),
    run: async (flags, abort, document) =>
      (await import("../validate.js")).runValidate(flags, abort, document as string),
  });
  leaf(storage, {
    name: "plan",
    description: "what an export, an import or a migration would do; writes nothing",
    examples: [
      "llmspell storage plan --from ~/.local/share/llmspell/llmspell.db --to postgres",
      "llmspell storage plan --input dev-data.json --backend postgres --exact",
      "llmspell storage plan --backend postgres --output dev-data.json --json",
    ],
    options: [
      new Option("--from <STORE>", "the store to read"),
      new Option("--to <STORE>", "the store to write"),
      new Option("--input <FILE>", "the document to read, instead of --from"),
      ...documentOptions().map((option) => (option.long === "--output" ? option.makeOptionMandatory(false) : option)),
      exactOption(),
      ...storeOptions(),
      ...planned(transferOptions()),
      ...transformOptions(),
      ...planned(loadOptions()),
      ...sourceOptions(),
    ],
    run: (flags, abort) => plan(flags, abort),
  });
  leaf(storage, {
    name: "info",
    description: "what a store holds, and what an export of it would meet: versions, counts, sizes, shapes",
    examples: ["llmspell storage info --backend postgres", "llmspell storage info backup.json.gz"],
    words: [new Argument("[STORE]", "a database or a document; default: as --backend says")],
    options: [...storeOptions(), tenantsOption(), asOwnerOption(), lockTimeoutOption(), strictOption()],
    run: async (flags, abort, store) => (await import("../info.js")).runInfo(flags, abort, store),
  });
  leaf(storage, {
    name: "verify",
    description: "whether two stores hold the same records: identical, equal by meaning, or what differs",
    examples: [
      "llmspell storage verify sqlite postgres",
      "llmspell storage verify llmspell.db backup.json.zst --strict",
      "llmspell storage verify sqlite staging.db --mask sessions.session_data.email=email --differences diff.ndjson",
    ],
    words: [
      new Argument("<A>", "the original: a database, a document, or - for standard input"),
      new Argument("<B>", "its copy; transforms and --tenant say what became of A on the way"),
    ],
    options: [...verifyOptions(), ...transformOptions()],
    run: async (flags, abort, a, b) => (await import("../verify.js")).runVerify(flags, abort, a, b),
  });
  leaf(storage, {
    name: "digest",
    description: "what a store's records mean, as a line per section: equal for stores that hold the same",
    examples: [
      "llmspell storage digest --backend sqlite",
      "llmspell storage digest backup.json.zst --exclude event_log --json",
    ],
    words: [new Argument("[STORE]", "a database or a document; default: as --backend says")],
    options: [...storeOptions(), ...digestOptions()],
    run: async (flags, abort, store) => (await import("../digest.js")).runDigest(flags, abort, store),
  });

  const database = group(program, "database", "the schema and the health of a database");
  leaf(database, {
    name: "migrate",
    description: "create or complete the schema",
    examples: ["llmspell database migrate", "llmspell database migrate --database pglite:./embedded"],
    options: [...storeOptions(), ...migrateOptions()],
    run: async (flags, abort) => (await import("../database.js")).runDatabaseMigrate(flags, abort),
  });
  leaf(database, {
    name: "health",
    description: "versions, migrations, row-level security, and what the role may do",
    examples: ["llmspell database health --backend postgres", "llmspell database health --strict"],
    options: [...storeOptions(), new Option("--strict", "exit non-zero also when migrations are pending")],
    run: async (flags, abort) => (await import("../database.js")).runDatabaseHealth(flags, abort),
  });
  leaf(group(database, "migrations", "the schema's migrations"), {
    name: "list",
    description: "which migrations are applied, and which are not",
    examples: ["llmspell database migrations list --backend postgres"],
    options: storeOptions(),
    run: async (flags, abort) => (await import("../database.js")).runMigrationsList(flags, abort),
  });

  leaf(program, {
    name: "explain",
    description: "what an error's code means, what causes it, and what to do",
    examples: ["llmspell explain E_ORPHAN", "llmspell explain"],
    words: [new Argument("[CODE]", "an error's code; without one all codes are listed")],
    options: [],
    run: async (flags, _abort, code) => (await import("../explain.js")).runExplain(flags, code),
  });
  leaf(program, {
    name: "completion",
    description: "print the completions for a shell",
    examples: [
      "source <(llmspell completion bash)",
      "llmspell completion zsh > ~/.zfunc/_llmspell-storage",
      "llmspell completion fish > ~/.config/fish/completions/llmspell-storage.fish",
    ],
    words: [new Argument("<SHELL>", "the shell").choices(["bash", "zsh", "fish"])],
    options: [],
    run: async (flags, _abort, shell) =>
      (await import("../completion/completion.js")).runCompletion(
        flags,
        shell as string,
        createProgram(dispatch, signal),
      ),
  });
  return program;
}

function prepare(command: Command): Command {
  return (
    command
      .exitOverride()
      // Errors are shown in one form, by runCommandLine.
      .configureOutput({ outputError: () => {} })
      .configureHelp({ helpWidth: 100 })
      .helpOption("-h, --help", "show help")

      .allowExcessArguments(false)
  );
}
