/** The program that commander parses with, made of the commands' data. */
import { Command, InvalidArgumentError, type Option } from "commander";
import { VERSION } from "../../version.js";
import { COMMANDS, GROUPS } from "./commands.js";
import { inGroups } from "./option-groups.js";
import { commonOptions, configOption } from "./options.js";

/** Both names of the program. */
export type ProgramName = "llmspell" | "llmspell-storage";

/** `storage export`, `database migrations list`, … */
export function commandNames(parent: Command, prefix = ""): string[] {
  return parent.commands.flatMap((command) => {
    const name = `${prefix}${command.name()}`;
    return command.commands.length === 0 ? [name] : commandNames(command, `${name} `);
  });
}

type Dispatch = (command: Command, run: () => Promise<number>) => Promise<void>;

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
  const groups = new Map<string, Command>([["", program]]);
  const add = (name: string, description: string): Command => {
    const at = name.lastIndexOf(" ");
    return prepare(
      groupOf(name.slice(0, Math.max(at, 0)))
        .command(name.slice(at + 1))
        .description(description),
    );
  };
  const groupOf = (name: string): Command => {
    const group = groups.get(name) ?? add(name, GROUPS[name] as string).addOption(configOption());
    groups.set(name, group);
    return group;
  };
  for (const { name, description, options, words, run, ...definition } of COMMANDS) {
    const command = add(name, description);
    const given = inGroups([...options(), ...commonOptions(), configOption()]);
    const names = new Set(given.flatMap(({ long }) => long ?? []));
    for (const option of given) command.addOption(withValue(option, names));
    for (const word of words?.() ?? []) command.addArgument(word);
    const shown = definition.examples.map((example) => example.replaceAll(/\bllmspell (?=[a-z])/g, `${called} `));
    examples.set(command, shown);
    command
      .addHelpText("after", `\nExamples:\n${shown.map((example) => `  ${example}`).join("\n")}`)
      .action(() => dispatch(command, () => run(command.optsWithGlobals(), { signal, program }, ...command.args)));
  }
  return program;
}

/** An option whose value was left out, by a variable that is not set for instance, would take the next option as its value. */
function withValue(option: Option, names: ReadonlySet<string>): Option {
  if (!option.required) return option;
  const { parseArg } = option;
  return option.argParser((value: string, previous: unknown) => {
    if (names.has(value)) throw new InvalidArgumentError("It is the next option: the value is missing.");
    return parseArg === undefined ? value : parseArg(value, previous as never);
  });
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
