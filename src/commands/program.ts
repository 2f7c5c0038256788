/** The command line: argv -> command -> exit status. Each command's code is loaded when it is run. */
import { Command, CommanderError, InvalidArgumentError, Option, type OptionValues } from "commander";
import { EXIT, StorageError, toStorageError } from "../errors.js";
import { redact } from "../redaction.js";
import { VERSION } from "../version.js";
import type { CommonFlags } from "./transfer.js";

/** Runs one command line. Never throws, never ends the process. */
export async function runCommandLine(argv: readonly string[], signal: AbortSignal): Promise<number> {
  let flags: CommonFlags & { readonly output?: string } = commonFlagsOf(argv);
  let status: number = EXIT.done;
  const program = createProgram(async (command, run) => {
    flags = command.opts();
    status = await run();
  }, signal);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
    const failure = failureOf(error, signal);
    // A reader that went away wants to hear nothing more.
    if (failure.code === "E_CLOSED_PIPE") return failure.exitStatus;
    const { createOutput } = await import("./output.js");
    createOutput({ ...flags, documentOnStdout: flags.output === "-" }).error(failure);
    return failure.exitStatus;
  }
}

/** A signal's error counts more than what ending the run early led to. */
function failureOf(error: unknown, signal: AbortSignal): StorageError {
  if (signal.aborted && signal.reason instanceof StorageError) return signal.reason;
  return error instanceof CommanderError ? usageError(error) : toStorageError(error);
}

/** What an error that comes before any command is parsed has to know. */
function commonFlagsOf(argv: readonly string[]): CommonFlags & { readonly output?: string } {
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

function usageError(error: CommanderError): StorageError {
  const [message = "", ...suggestion] = redact(error.message.replace(/^error: /, "")).split("\n");
  if (error.code === "commander.help") {
    return new StorageError("E_USAGE", "no command is given", { hint: "See the commands above, or --help." });
  }
  const hint = suggestion.join(" ").replace(/^\((.*)\)$/, "$1") || "See --help.";
  return new StorageError("E_USAGE", message, { hint });
}

type Dispatch = (command: Command, run: () => Promise<number>) => Promise<void>;

function createProgram(dispatch: Dispatch, signal: AbortSignal): Command {
  const program = new Command("llmspell")
    .description("Lossless export, import and migration of llmspell storage between SQLite and PostgreSQL.")
    .version(`llmspell-storage ${VERSION}`, "--version", "print the version")
    .helpOption("-h, --help", "show help")
    .addHelpText("after", "\nDocumentation: docs/command-line.md");
  prepare(program);
  const action =
    <Flags extends OptionValues>(run: (flags: Flags, signal: AbortSignal, ...words: string[]) => Promise<number>) =>
    async (...parsed: unknown[]): Promise<void> => {
      const command = parsed.at(-1) as Command;
      await dispatch(command, () => run(command.opts<Flags>(), signal, ...(command.args as string[])));
    };

  const storage = group(program, "storage", "move records between databases and export documents");
  leaf(storage, "export", "write a database's records as one export document", [
    "llmspell storage export --backend sqlite --output dev-data.json",
    "llmspell storage export --backend postgres --output - | gzip > export.json.gz",
    "llmspell storage export --backend postgres --tenant acme --include sessions --include artifacts --output acme.json.zst",
  ])
    .addOption(backendOption())
    .addOption(databaseOption())
    .requiredOption("--output <FILE>", "the document: a file, or - for standard output")
    .addOption(
      new Option("--compress <FORMAT>", "default: by the file's name").choices(["auto", "gzip", "zstd", "none"]),
    )
    .option("--force", "replace a file that is no export document")
    .addOption(sourceModeOption())
    .action(
      action(async (flags: import("./export.js").ExportFlags, abort) =>
        (await import("./export.js")).runExport(flags, abort),
      ),
    );
  addTransferOptions(lastOf(storage));

  leaf(storage, "import", "load an export document into a database: one transaction, all or nothing", [
    "llmspell storage import --backend postgres --input dev-data.json",
    "gunzip -c export.json.gz | llmspell storage import --backend sqlite --input -",
    "llmspell storage import --backend postgres --input data.json --dry-run",
    "llmspell storage import --backend postgres --input data.json --on-error skip --rejects rejects.ndjson",
  ])
    .addOption(backendOption())
    .addOption(databaseOption())
    .requiredOption("--input <FILE>", "the document: a file, or - for standard input; gzip and zstd are recognised")
    .action(
      action(async (flags: import("./import.js").ImportFlags, abort) =>
        (await import("./import.js")).runImport(flags, abort),
      ),
    );
  addTransferOptions(lastOf(storage));
  addLoadOptions(lastOf(storage));

  leaf(storage, "migrate", "copy from database to database, with no file between", [
    "llmspell storage migrate --from ~/.local/share/llmspell/llmspell.db --to postgres",
    "llmspell storage migrate --from postgresql://llmspell@localhost/llmspell --to copy.db",
  ])
    .requiredOption("--from <STORE>", "the store to read")
    .requiredOption("--to <STORE>", "the database to write")
    .addOption(sourceModeOption())
    .action(
      action(async (flags: import("./migrate.js").MigrateFlags, abort) =>
        (await import("./migrate.js")).runMigrate(flags, abort),
      ),
    );
  addTransferOptions(lastOf(storage));
  addLoadOptions(lastOf(storage));

  leaf(storage, "info", "what a store holds and what an export of it would meet: versions, counts, sizes, shapes", [
    "llmspell storage info --backend postgres",
    "llmspell storage info backup.json.gz",
  ])
    .argument("[STORE]", "a database or a document; default: as --backend says")
    .addOption(backendOption())
    .addOption(databaseOption())
    .action(
      action(async (flags: import("./info.js").InfoFlags, abort, store?: string) =>
        (await import("./info.js")).runInfo(flags, abort, store),
      ),
    );

  const database = group(program, "database", "the schema and the health of a database");
  leaf(database, "migrate", "create or complete the schema", [
    "llmspell database migrate",
    "llmspell database migrate --backend postgres",
    "llmspell database migrate --database pglite:./embedded",
  ])
    .addOption(backendOption())
    .addOption(databaseOption())
    .action(
      action(async (flags: import("./database.js").DatabaseFlags, abort) =>
        (await import("./database.js")).runDatabaseMigrate(flags, abort),
      ),
    );
  leaf(
    database,
    "health",
    "whether it can be reached, its versions, migrations, row-level security and the role's rights",
    ["llmspell database health --backend postgres"],
  )
    .addOption(backendOption())
    .addOption(databaseOption())
    .action(
      action(async (flags: import("./database.js").DatabaseFlags, abort) =>
        (await import("./database.js")).runDatabaseHealth(flags, abort),
      ),
    );
  const migrations = group(database, "migrations", "the schema's migrations");
  leaf(migrations, "list", "which migrations are applied", ["llmspell database migrations list"])
    .addOption(backendOption())
    .addOption(databaseOption())
    .action(
      action(async (flags: import("./database.js").DatabaseFlags, abort) =>
        (await import("./database.js")).runMigrationsList(flags, abort),
      ),
    );
  return program;
}

function prepare(command: Command): void {
  command
    .exitOverride()
    // Errors are shown in one form, by runCommandLine.
    .configureOutput({ outputError: () => {} })
    .configureHelp({ helpWidth: 100 })
    .allowExcessArguments(false);
}

function group(parent: Command, name: string, description: string): Command {
  const command = parent.command(name).description(description);
  prepare(command);
  return command;
}

function lastOf(parent: Command): Command {
  return parent.commands.at(-1) as Command;
}

function leaf(parent: Command, name: string, description: string, examples: readonly string[]): Command {
  const command = group(parent, name, description);
  command
    .option("--quiet", "nothing but errors")
    .option("--verbose", "more, and the stack of an error")
    .option("--json", "the result as one JSON object")
    .addOption(new Option("--log-format <FORMAT>", "of what goes to stderr").choices(["text", "json"]))
    .option("--no-progress", "no progress")
    .helpOption("-h, --help", "show help")
    .addHelpText("after", `\nExamples:\n${examples.map((example) => `  ${example}`).join("\n")}`);
  return command;
}

const STORE_HELP = "postgresql:// URL, pglite:DIR, sqlite:PATH or a file (.db, .sqlite, .sqlite3)";

function backendOption(): Option {
  return new Option("--backend <BACKEND>", "sqlite or postgres, as configured").argParser((value: string) => {
    if (["sqlite", "postgres", "postgresql"].includes(value)) return value;
    throw new InvalidArgumentError("The backends are sqlite and postgres (or postgresql).");
  });
}

function databaseOption(): Option {
  return new Option("--database <STORE>", `another database than the configured one: ${STORE_HELP}`);
}

function sourceModeOption(): Option {
  return new Option("--source-mode <MODE>", "how PostgreSQL is read; auto takes COPY where it can be had").choices([
    "auto",
    "copy",
    "cursor",
  ]);
}

function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}

function addTransferOptions(command: Command): void {
  command
    .option("--include <SECTION>", "only this section, e.g. artifacts or vector_embeddings.768 (repeatable)", collect)
    .option("--exclude <SECTION>", "all but this section (repeatable)", collect)
    .option("--tenant <ID>", "only this tenant's records (repeatable)", collect)
    .addOption(
      new Option("--on-error <WHAT>", "at a bad record: stop (default), or skip it and go on").choices([
        "stop",
        "skip",
      ]),
    )
    .option("--rejects <FILE>", "with --on-error skip: write each rejected record with its reason, as NDJSON")
    .addOption(
      new Option(
        "--invalid-uuid <WHAT>",
        "free text in a UUID field: error (default), or derive a UUIDv5 from it",
      ).choices(["error", "derive"]),
    );
}

function addLoadOptions(command: Command): void {
  command
    .addOption(
      new Option("--on-conflict <WHAT>", "a record that is there already: update (default), skip or error").choices([
        "update",
        "skip",
        "error",
      ]),
    )
    .addOption(
      new Option("--on-orphan <WHAT>", "an artifact without session or content: error (default) or drop").choices([
        "error",
        "drop",
      ]),
    )
    .addOption(
      new Option("--vectors-as <SHAPE>", "new SQLite embedding tables: blob (default) or vec0").choices([
        "blob",
        "vec0",
      ]),
    )
    .option("--dry-run", "everything but the commit")
    .option("--no-verify-manifest", "import although the document does not agree with its manifest");
}
