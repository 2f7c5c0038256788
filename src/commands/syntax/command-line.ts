/** The command line: argv -> command -> exit status. Each command's code is loaded when it is run. */
import { type Command, CommanderError } from "commander";
import { EXIT, StorageError, toStorageError } from "../../errors.js";
import { commandWords } from "../../llmspell/program/handover.js";
import { redact, redactUnknown } from "../../redaction.js";
import type { CommonFlags } from "../transfer.js";
import { COMMANDS } from "./commands.js";
import { nearest } from "./nearest.js";
import { commandNames, createProgram, type ProgramName } from "./program.js";

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

/** Whether what the command prints is all there is of it. */
export function onlyPrints([first, second]: readonly string[]): boolean {
  return COMMANDS.some(({ name, onlyPrints: only }) => {
    const [group, command] = name.split(" ");
    return only === true && group === first && (command === undefined || command === second);
  });
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
