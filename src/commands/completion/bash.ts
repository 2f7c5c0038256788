/** Completions for bash from 3.2 on (macOS), without the package bash-completion. */
import { allCommands, allOptions, type CompletedCommand, type Values } from "./words.js";

/** The statement that offers them. */
function offer({ words, files, prefixes }: Values): string {
  if (!files) return `_llmspell_storage_words ${quoted(words)}`;
  return prefixes ? `_llmspell_storage_files ${quoted(words)}` : "_llmspell_storage_files";
}

function quoted(words: readonly string[]): string {
  return `'${words.join(" ")}'`;
}

function caseOf(command: CompletedCommand): string {
  const { path, options, commands, argument } = command;
  const names = options.flatMap((option) => option.names).filter((name) => name.startsWith("--"));
  const free =
    commands.length > 0
      ? `_llmspell_storage_words ${quoted(commands.map((each) => each.path.at(-1) as string))}`
      : argument === undefined
        ? `_llmspell_storage_words ${quoted(names)}`
        : offer(argument);
  return [
    `    ${quoted(path)})`,
    `      if [[ $cur == -* ]]; then _llmspell_storage_words ${quoted(names)}`,
    `      else ${free}; fi ;;`,
  ].join("\n");
}

export function bashCompletion(program: CompletedCommand, names: readonly string[]): string {
  const valued = allOptions(program).filter(({ value }) => value !== undefined);
  const values = valued.map((option) => {
    const { words, files } = option.value as Values;
    const statement = words.length === 0 && !files ? ":" : offer(option.value as Values);
    return `    ${option.names.join("|")}) ${statement}; return ;;`;
  });
  return `# bash completion for ${names.join(" and ")}, made by \`llmspell-storage completion bash\`.

_llmspell_storage_words() {
  local IFS=$' \\t\\n'
  COMPREPLY=($(compgen -W "$1" -- "$cur"))
}

_llmspell_storage_files() {
  local IFS=$'\\n'
  COMPREPLY=($(compgen -f -- "$cur"))
  compopt -o filenames 2>/dev/null
  [[ -z $1 ]] && return
  IFS=$' \\t\\n'
  COMPREPLY+=($(compgen -W "$1" -- "$cur"))
}

_llmspell_storage() {
  local cur=\${COMP_WORDS[COMP_CWORD]} option=\${COMP_WORDS[COMP_CWORD-1]} path= word skip= i
  COMPREPLY=()
  # Readline cuts words at = and at the colon of sqlite:PATH.
  if [[ $cur == = ]]; then cur=
  elif [[ $option == = ]]; then option=\${COMP_WORDS[COMP_CWORD-2]}
  elif [[ $cur == : ]]; then cur=; option=:
  fi
  case $option in
    :) _llmspell_storage_files; return ;;
${values.join("\n")}
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case $word in
      [=:@]*) skip=1; continue ;;
    esac
    if [[ -n $skip ]]; then skip=; continue; fi
    case $word in
      ${valued.flatMap((option) => option.names).join("|")}) skip=1 ;;
      -*) ;;
      *) path="\${path:+$path }$word" ;;
    esac
  done
  case $path in
${allCommands(program).map(caseOf).join("\n")}
  esac
}

complete -F _llmspell_storage ${names.join(" ")}
`;
}
