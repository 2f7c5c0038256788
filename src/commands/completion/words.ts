/** What a shell may offer, taken from the commands themselves: one list for all shells. */
import type { Argument, Command, Option } from "commander";
import { ERROR_CODES } from "../../errors.js";
import { catalog } from "../../llmspell/catalog/index.js";
import { backends } from "../../stores/backend-registry.js";

/** What may stand where a value is expected. */
export interface Values {
  readonly words: readonly string[];
  readonly files: boolean;
  /** STORE texts: what may stand before a path, e.g. `pglite:`. */
  readonly prefixes?: readonly string[];
}

export interface CompletedOption {
  /** `-c`, `--config` */
  readonly names: readonly string[];
  readonly description: string;
  /** Undefined: it takes no value. */
  readonly value: Values | undefined;
  /** What the value is called, e.g. `FILE`. */
  readonly placeholder: string;
  readonly repeatable: boolean;
}

export interface CompletedCommand {
  /** The words that lead to it; none for the program itself. */
  readonly path: readonly string[];
  readonly description: string;
  readonly options: readonly CompletedOption[];
  readonly commands: readonly CompletedCommand[];
  /** What its argument may be. */
  readonly argument: Values | undefined;
}

const NOTHING: Values = { words: [], files: false };

const BY_PLACEHOLDER: Readonly<Record<string, () => Values>> = {
  FILE: () => ({ words: [], files: true }),
  MODULE: () => ({ words: [], files: true }),
  STORE: () => ({ words: backendWords(), files: true, prefixes: storePrefixes() }),
  DOCUMENT: () => ({ words: [], files: true }),
  BACKEND: () => ({ words: backendWords(), files: false }),
  SECTION: () => ({ words: sectionNames(), files: false }),
  CODE: () => ({ words: Object.keys(ERROR_CODES), files: false }),
};

/** What people call the backends that the configuration may name. */
function backendWords(): string[] {
  const configured = backends.filter((backend) => backend.configured?.name !== undefined);
  return [...new Set(configured.map(({ word }) => word))].sort();
}

function storePrefixes(): string[] {
  const forms = backends.flatMap(({ locations }) => locations.forms);
  return [...new Set(forms.flatMap((form) => /^[a-z]+:(?=[A-Z]+$)/.exec(form)?.[0] ?? []))].sort();
}

/** Paths of sections, and what several of them begin with. */
function sectionNames(): string[] {
  const paths = catalog.kinds.map(({ path }) => path);
  const groups = paths.filter((path) => path.includes(".")).map((path) => path.slice(0, path.indexOf(".")));
  return [...new Set([...groups, ...paths])].sort();
}

function valuesOf(placeholder: string, choices: readonly string[] | undefined): Values {
  if (choices !== undefined) return { words: choices, files: false };
  return (BY_PLACEHOLDER[placeholder] ?? (() => NOTHING))();
}

function completedOption(option: Option): CompletedOption {
  const placeholder = /[<[](\w+)/.exec(option.flags)?.[1] ?? "";
  return {
    names: [option.short, option.long].filter((name) => name !== undefined),
    description: option.description,
    value: placeholder === "" ? undefined : valuesOf(placeholder, option.argChoices),
    placeholder,
    repeatable: option.description.includes("(repeatable)"),
  };
}

function completedArgument(argument: Argument | undefined): Values | undefined {
  return argument && valuesOf(argument.name(), argument.argChoices);
}

const HELP: CompletedOption = {
  names: ["-h", "--help"],
  description: "show help",
  value: undefined,
  placeholder: "",
  repeatable: false,
};

/** `program` with all that is below it, `help` included. */
export function completedCommand(program: Command, path: readonly string[] = []): CompletedCommand {
  const commands = program.commands.map((command) => completedCommand(command, [...path, command.name()]));
  return {
    path,
    description: program.description(),
    options: [...program.options.map(completedOption), HELP],
    commands: commands.length === 0 || path.length > 0 ? commands : [...commands, helpCommand(commands)],
    argument: completedArgument(program.registeredArguments[0]),
  };
}

/** `help` takes the words of the other commands. */
function helpCommand(commands: readonly CompletedCommand[]): CompletedCommand {
  const behindHelp = (command: CompletedCommand): CompletedCommand => ({
    path: ["help", ...command.path],
    description: command.description,
    options: [],
    commands: command.commands.map(behindHelp),
    argument: undefined,
  });
  return {
    path: ["help"],
    description: "show help of a command",
    options: [],
    commands: commands.map(behindHelp),
    argument: undefined,
  };
}

/** The command and all below it. */
export function allCommands(command: CompletedCommand): CompletedCommand[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

/** Every option of the program by its names: an option's values are the same wherever it stands. */
export function allOptions(program: CompletedCommand): CompletedOption[] {
  const byNames = new Map<string, CompletedOption>();
  for (const { options } of allCommands(program))
    for (const option of options) byNames.set(option.names.join(" "), option);
  return [...byNames.values()];
}
