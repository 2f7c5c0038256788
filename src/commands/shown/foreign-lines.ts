/** What others (plugins, their packages) print to stderr, where every line is to be an object (--log-format json). */
import { StringDecoder } from "node:string_decoder";

/** Longer lines are cut into several. Characters. */
const MOST_CHARACTERS = 65536;

let isOurs = false;
let isInstalled = false;

/** Writes a line of ours. */
export function writeOurs(text: string): void {
  isOurs = true;
  try {
    process.stderr.write(text);
  } finally {
    isOurs = false;
  }
}

/** From now on, and for good, `form` makes a line of ours of each line that others write. */
export function takeForeignLines(form: (line: string) => string): void {
  if (isInstalled) return;
  isInstalled = true;
  const { stderr } = process;
  const write = stderr.write.bind(stderr);
  const decoder = new StringDecoder("utf8");
  let rest = "";
  const tell = (line: string): void => {
    if (line !== "") write(`${form(line)}\n`);
  };
  const take = (text: string): void => {
    const lines = `${rest}${text}`.split(/\r?\n/);
    rest = lines.pop() ?? "";
    for (; rest.length > MOST_CHARACTERS; rest = rest.slice(MOST_CHARACTERS))
      lines.push(rest.slice(0, MOST_CHARACTERS));
    for (const line of lines) tell(line);
  };
  process.once("exit", () => {
    tell(rest);
  });
  const taking = (chunk: Uint8Array | string, ...others: unknown[]): boolean => {
    // An empty chunk asks for what was written before it to be handed over.
    if (isOurs || chunk === "") return Reflect.apply(write, stderr, [chunk, ...others]);
    take(typeof chunk === "string" ? chunk : decoder.write(Buffer.from(chunk)));
    const done = others.find((other) => typeof other === "function") as (() => void) | undefined;
    if (done !== undefined) process.nextTick(done);
    return true;
  };
  stderr.write = taking as typeof stderr.write;
}
