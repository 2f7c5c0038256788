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

const require = createRequire(import.meta.url);

/** An instance of jq with a memory of its own. */
function load(): Promise<JqModule> {
  delete require.cache[require.resolve("jq-web")];
  return require("jq-web") as Promise<JqModule>;
}

/** An instance never gives back all of its memory: after some thousand programs it has none. */
const PROGRAMS_PER_INSTANCE = 1000;
let loading: Promise<JqModule> | undefined;
let run = 0;

/** By input; undefined where jq itself crashes. Throws when jq does not compile the program. */
export async function runReal(program: string, inputs: readonly string[]): Promise<Outcome[] | undefined> {
  if (run++ % PROGRAMS_PER_INSTANCE === 0) loading = load();
  const jq = (await loading) as JqModule;
  let answer: string;
  try {
    answer = jq.raw(inputs.join("\n"), framedProgram(program, NOW), ["-c"]) ?? "";
  } catch (error) {
    if ((error as Error).name !== "RuntimeError") throw error;
    // jq itself went out of its memory, as at `[] | .[1e400] = 1`: it has no answer, and this instance never again one.
    loading = load();
    return undefined;
  }
  const results = parseAnswer(answer);
  if (results.length !== inputs.length)
    throw new Error(`jq gave ${results.length} results for ${inputs.length} inputs`);
  return results.map(({ outputs, error }) => ({ outputs, failed: error !== undefined }));
}
