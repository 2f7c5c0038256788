/** `llmspell completion bash|zsh|fish`: a script of its own for each shell, so that no key waits for a process. */
import type { Command } from "commander";
import { EXIT } from "../../errors.js";
import { type CommonFlags, outputFor } from "../transfer.js";
import { bashCompletion } from "./bash.js";
import { fishCompletion } from "./fish.js";
import { completedCommand } from "./words.js";
import { zshCompletion } from "./zsh.js";

/** Both names of the program. */
const PROGRAMS = ["llmspell-storage", "llmspell"] as const;

const SHELLS: Readonly<Record<string, typeof bashCompletion>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** Gives the exit status. The script goes to standard output as it is, whatever the flags. */
export async function runCompletion(flags: CommonFlags, shell: string, program: Command): Promise<number> {
  const script = SHELLS[shell]?.(completedCommand(program), PROGRAMS) ?? "";
  if (flags.json) outputFor(flags).result({ shell, script });
  else process.stdout.write(script);
  return EXIT.done;
}
