/** Completions for zsh, with descriptions: sourced, or as a file `_llmspell-storage` in a folder of fpath. */
import { allCommands, allOptions, type CompletedCommand, type CompletedOption, type Values } from "./words.js";

const MAIN = "_llmspell-storage";

/** A text within single quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A description within an _arguments spec. */
function described(text: string): string {
  return text.replace(/[\\[\]:]/g, "\\$&");
}

function action({ words, files, prefixes }: Values): string {
  if (prefixes) return `${MAIN}-store`;
  if (files) return "_files";
  return words.length === 0 ? " " : `(${words.join(" ")})`;
}

function optionSpecs({ names, description, value, placeholder, repeatable }: CompletedOption): string[] {
  const exclusive = repeatable ? "*" : `(${names.join(" ")})`;
  return names.map((name) => {
    const assigned = value !== undefined && name.startsWith("--") ? "=" : "";
    const taken = value === undefined ? "" : `:${placeholder}:${action(value)}`;
    return quoted(`${exclusive}${name}${assigned}[${described(description)}]${taken}`);
  });
}

function functionName(path: readonly string[]): string {
  return [MAIN, ...path].join("--");
}

function functionOf({ path, options, commands, argument }: CompletedCommand): string {
  const specs = options.flatMap(optionSpecs);
  if (commands.length === 0) {
    const free = argument === undefined ? [] : [quoted(`1:argument:${action(argument)}`)];
    const all = [...specs, ...free];
    return `${functionName(path)}() {\n  ${all.length === 0 ? "_message 'no more arguments'" : ["_arguments", ...all].join(" \\\n    ")}\n}`;
  }
  const described = commands.map((each) => {
    return quoted(`${each.path.at(-1)}:${each.description.replaceAll(":", "\\:")}`);
  });
  return `${functionName(path)}() {
  local curcontext="$curcontext" state line
  typeset -A opt_args
  local -a commands=(
    ${described.join("\n    ")}
  )
  ${["_arguments -C", ...specs, "'1: :->command'", "'*:: :->rest'"].join(" \\\n    ")}
  case $state in
    command) _describe -t commands command commands ;;
    rest)
      case $line[1] in
${commands.map((each) => `        ${each.path.at(-1)}) ${functionName(each.path)} ;;`).join("\n")}
      esac ;;
  esac
}`;
}

export function zshCompletion(program: CompletedCommand, names: readonly string[]): string {
  const stores = allOptions(program).find(({ value }) => value?.prefixes !== undefined)?.value;
  return `#compdef ${names.join(" ")}
# Completions for ${names.join(" and ")}, made by \`llmspell-storage completion zsh\`.

${MAIN}-store() {
  if compset -P '(${stores?.prefixes?.join("|")})'; then _files
  else
    local -a stores=(${stores?.words.map((word) => `'${word}:as configured'`).join(" ")})
    _describe -t stores store stores
    _files
  fi
}

${allCommands(program).map(functionOf).join("\n\n")}

# Sourced it says what it completes; from a folder of fpath zsh has read the first line.
if [[ $funcstack[1] == ${MAIN} ]]; then ${MAIN} "$@"
else compdef ${MAIN} ${names.join(" ")}
fi
`;
}
