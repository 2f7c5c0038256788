/** Completions for fish, with descriptions. */
import { allCommands, allOptions, type CompletedCommand, type CompletedOption, type Values } from "./words.js";

/** A text within single quotes. */
function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}

function valueFlags({ words, files }: Values): string {
  const offered = words.length === 0 ? "" : ` -a ${quoted(words.join(" "))}`;
  return files ? ` -r -F${offered}` : ` -x${offered}`;
}

function optionLine(condition: string, { names, description, value }: CompletedOption): string {
  const flags = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const taken = value === undefined ? "" : valueFlags(value);
  return `complete $programs ${condition} ${flags.join(" ")}${taken} -d ${quoted(description)}`;
}

function linesOf({ path, options, commands, argument }: CompletedCommand): string[] {
  const condition = `-n ${quoted(`__llmspell_storage_at ${path.join(" ")}`.trim())}`;
  const free =
    argument === undefined
      ? []
      : [`complete $programs ${condition}${valueFlags(argument).replace(/^ -[xr]/, argument.files ? "" : " -f")}`];
  return [
    ...commands.map((each) => {
      return `complete $programs ${condition} -f -a ${each.path.at(-1)} -d ${quoted(each.description)}`;
    }),
    ...free,
    ...options.map((option) => optionLine(condition, option)),
  ];
}

export function fishCompletion(program: CompletedCommand, names: readonly string[]): string {
  const valued = allOptions(program).filter(({ value }) => value !== undefined);
  return `# fish completions for ${names.join(" and ")}, made by \`llmspell-storage completion fish\`.

# Whether the words before the cursor, without options and their values, are these.
function __llmspell_storage_at
    set -l path
    set -l skip
    for word in (commandline -opc)[2..-1]
        if set -q skip[1]
            set skip
            continue
        end
        switch $word
            case ${valued.flatMap((option) => option.names).join(" ")}
                set skip 1
            case '-*'
            case '*'
                set -a path $word
        end
    end
    test "$path" = "$argv"
end

set -l programs ${names.map((name) => `-c ${name}`).join(" ")}
complete $programs -f
${allCommands(program).flatMap(linesOf).join("\n")}
`;
}
