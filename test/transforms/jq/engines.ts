/** Runs one program on many inputs with the compiled closures and with jq itself. */
import { createRequire } from "node:module";
import { JqError } from "../../../src/transforms/jq/compiled/access.js";
import { NotCompiled } from "../../../src/transforms/jq/compiled/code.js";
import { compileProgram } from "../../../src/transforms/jq/compiled/compile.js";
import { parseJsonText } from "../../../src/transforms/jq/compiled/json-parser.js";
import { Undecided } from "../../../src/transforms/jq/compiled/numbers.js";
import { printValue } from "../../../src/transforms/jq/compiled/values.js";
import { parseJq } from "../../../src/transforms/jq/language/parser.js";
import { framedProgram, parseAnswer } from "../../../src/transforms/jq/real/real-jq.js";

export interface Outcome {
  readonly outputs: readonly string[];
  readonly failed: boolean;
}

const NOW = 1700000000.5;

/** By input; "undecided" where the closures leave the record to jq. Undefined when the program is not compiled. */
export function runCompiled(program: string, inputs: readonly string[]): (Outcome | "undecided")[] | undefined {
  let run: ReturnType<typeof compileProgram>;
  try {
    run = compileProgram(parseJq(program), NOW);
  } catch (error) {
    if (error instanceof NotCompiled) return undefined;
    throw error;
  }
  return inputs.map((input) => {
    const outputs: string[] = [];
    try {
      run(parseJsonText(input), (value) => outputs.push(printValue(value)));
      return { outputs, failed: false };
    } catch (error) {
      if (error instanceof Undecided) return "undecided";
      if (error instanceof JqError) return { outputs, failed: true };
      throw error;
    }
  });
}

interface JqModule {
  raw(input: string, filter: string, flags: readonly string[]): string | undefined;
}

const loading = createRequire(import.meta.url)("jq-web") as Promise<JqModule>;

/** By input. Throws when jq does not compile the program. */
export async function runReal(program: string, inputs: readonly string[]): Promise<Outcome[]> {
  const jq = await loading;
  const answer = jq.raw(inputs.join("\n"), framedProgram(program, NOW), ["-c"]) ?? "";
  const results = parseAnswer(answer);
  if (results.length !== inputs.length)
    throw new Error(`jq gave ${results.length} results for ${inputs.length} inputs`);
  return results.map(({ outputs, error }) => ({ outputs, failed: error !== undefined }));
}
