/** `llmspell explain CODE`: what an error's code means, what causes it, and what to do. */
import { ERROR_CODES, type ErrorCode, EXIT, StorageError } from "../errors.js";
import { EXPLANATIONS } from "./shown/explanations.js";
import { nearest } from "./syntax/nearest.js";
import { type CommonFlags, outputFor } from "./transfer.js";

/** Gives the exit status. Without a code all of them are listed. */
export async function runExplain(flags: CommonFlags, text?: string): Promise<number> {
  const output = outputFor(flags);
  if (text === undefined) {
    const codes = Object.entries(ERROR_CODES).map(([code, { exit, meaning }]) => ({ code, exitStatus: exit, meaning }));
    const width = Math.max(...codes.map(({ code }) => code.length));
    for (const { code, exitStatus, meaning } of codes)
      output.line(`${code.padEnd(width)}  ${String(exitStatus).padStart(3)}  ${meaning}`);
    output.result({ codes });
    return EXIT.done;
  }
  const code = codeNamed(text);
  const { exit, meaning } = ERROR_CODES[code];
  const { cause, remedy, example } = EXPLANATIONS[code];
  for (const line of [`${code}: ${meaning}`, `Exit status: ${exit}`, `Cause: ${cause}`, `Remedy: ${remedy}`])
    output.line(line);
  output.line(`Example: ${example}`);
  output.result({ code, exitStatus: exit, meaning, cause, remedy, example });
  return EXIT.done;
}

/** In any case, with or without `E_`, and with the brackets of a message. */
function codeNamed(text: string): ErrorCode {
  const codes = Object.keys(ERROR_CODES) as ErrorCode[];
  const bare = text
    .trim()
    .replace(/^\[(.*)\]$/s, "$1")
    .toUpperCase()
    .replaceAll("-", "_");
  const wanted = bare.startsWith("E_") ? bare : `E_${bare}`;
  const found = codes.find((code) => code === wanted);
  if (found !== undefined) return found;
  const meant = nearest(wanted, codes);
  throw new StorageError("E_USAGE", `there is no error code ${text}`, {
    hint: `${meant === undefined ? "" : `Did you mean ${meant}? `}\`llmspell explain\` lists all codes.`,
  });
}
