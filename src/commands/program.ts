/** The command line: argv -> command -> exit status. Each command's code is loaded when it is run. */
import { Command, CommanderError, Option } from "commander";
import { EXIT, StorageError, toStorageError } from "../errors.js";
import { redact, redactUnknown } from "../redaction.js";
import { VERSION } from "../version.js";
import {
  asOwnerOption,
  commonOptions,
  configOption,
  documentOptions,
  loadOptions,
  lockTimeoutOption,
  migrateOptions,
  required,
  sourceOptions,
  storeOptions,
  strictOption,
  tenantsOption,
  transferOptions,
  transformOptions,
} from "./options.js";
import type { CommonFlags } from "./transfer.js";

/** Runs one command line. Never throws, never ends the process. */
export async function runCommandLine(argv: readonly string[], signal: AbortSignal): Promise<number> {
  let flags: CommonFlags & { readonly output?: string } = commonFlagsOf(argv);
  let status: number = EXIT.done;
  const program = createProgram(async (command, run) => {
    flags = command.optsWithGlobals();
    status = await run();
  }, signal);
  try {
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
  const { createOutput } = await import("./shown/output.js");
  createOutput({ ...flags, documentOnStdout: flags.output === "-" }).error(error);
}

/** A signal's error counts more than what ending the run early led to, unless that says what became of the data. */
function failureOf(error: unknown, signal: AbortSignal, program: Command): StorageError {
  if (error instanceof StorageError && error.context.outcomeUnknown) return error;
  if (signal.aborted && signal.reason instanceof StorageError) return signal.reason;
  return error instanceof CommanderError ? usageError(error, program) : toStorageError(error);
}

/** Commands that change nothing and write no file: what they print is all there is of them. */
const ONLY_PRINT: ReadonlySet<string> = new Set(["storage info", "database health", "database migrations"]);

export function onlyPrints(argv: readonly string[]): boolean {
  return ONLY_PRINT.has(argv.slice(0, 2).join(" "));
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

type Dispatch = (command: Command, run: () => Promise<number>) => Promise<void>;

interface Leaf {
  readonly name: string;
  readonly description: string;
  readonly examples: readonly string[];
  readonly options: readonly Option[];
  readonly argument?: readonly [name: string, description: string];
  /** Loads the command's code and runs it; gives the exit status. */
  // biome-ignore lint/suspicious/noExplicitAny: commander hands over the flags that `options` declares
  readonly run: (flags: any, signal: AbortSignal, ...words: string[]) => Promise<number>;
}

/** The commands; `dispatch` runs the one that the command line names. */
export function createProgram(dispatch: Dispatch, signal: AbortSignal): Command {
  const program = prepare(new Command("llmspell"))
    .description("Lossless export, import and migration of llmspell storage between SQLite and PostgreSQL.")
    .version(`llmspell-storage ${VERSION}`, "--version", "print the version")
    .addOption(configOption())
    .addHelpText(
      "after",
      "\nEvery other command of llmspell is handed to the next llmspell on the PATH.\nDocumentation: docs/command-line.md",
    );
  const group = (parent: Command, name: string, description: string): Command =>
    prepare(parent.command(name).description(description)).addOption(configOption());
  const leaf = (parent: Command, { name, description, examples, options, argument, run }: Leaf): void => {
    const command = group(parent, name, description);
    for (const option of [...options, ...commonOptions()]) command.addOption(option);
    if (argument !== undefined) command.argument(...argument);
    command
      .addHelpText("after", `\nExamples:\n${examples.map((example) => `  ${example}`).join("\n")}`)
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
    options: [...documentOptions(), ...storeOptions(), ...transferOptions(), ...transformOptions(), ...sourceOptions()],
    run: async (flags, abort) => (await import("./export.js")).runExport(flags, abort),
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
      required("--input <FILE>", "the document: a file, or - for standard input; gzip and zstd are recognised"),
      ...storeOptions(),
      ...transferOptions(),
      ...transformOptions(),
      ...loadOptions(),
    ],
    run: async (flags, abort) => (await import("./import.js")).runImport(flags, abort),
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
    ],
    run: async (flags, abort) => (await import("./migrate.js")).runMigrate(flags, abort),
  });
  leaf(storage, {
    name: "info",
    description: "what a store holds, and what an export of it would meet: versions, counts, sizes, shapes",
    examples: ["llmspell storage info --backend postgres", "llmspell storage info backup.json.gz"],
    argument: ["[STORE]", "a database or a document; default: as --backend says"],
    options: [...storeOptions(), tenantsOption(), asOwnerOption(), lockTimeoutOption(), strictOption()],
    run: async (flags, abort, store) => (await import("./info.js")).runInfo(flags, abort, store),
  });

  const database = group(program, "database", "the schema and the health of a database");
  leaf(database, {
    name: "migrate",
    description: "create or complete the schema",
    examples: ["llmspell database migrate", "llmspell database migrate --database pglite:./embedded"],
    options: [...storeOptions(), ...migrateOptions()],
    run: async (flags, abort) => (await import("./database.js")).runDatabaseMigrate(flags, abort),
  });
  leaf(database, {
    name: "health",
    description: "versions, migrations, row-level security, and what the role may do",
    examples: ["llmspell database health --backend postgres", "llmspell database health --strict"],
    options: [...storeOptions(), new Option("--strict", "exit non-zero also when migrations are pending")],
    run: async (flags, abort) => (await import("./database.js")).runDatabaseHealth(flags, abort),
  });
  leaf(group(database, "migrations", "the schema's migrations"), {
    name: "list",
    description: "which migrations are applied, and which are not",
    examples: ["llmspell database migrations list --backend postgres"],
    options: storeOptions(),
    run: async (flags, abort) => (await import("./database.js")).runMigrationsList(flags, abort),
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
