/** The thread in which jq itself runs, and its bounds. */

/** WebAssembly memory that jq may take. */
export const MEMORY_BYTES = 2 ** 30;
/** What it may print for the records that it is given at once: less than a string can hold. */
export const OUTPUT_BYTES = 400 * 2 ** 20;
/** Outputs for one record. */
export const OUTPUT_COUNT = 100000;

export interface Limits {
  readonly memoryBytes: number;
  readonly outputBytes: number;
  readonly outputCount: number;
}

export interface WorkerData {
  /** The path of jq-web. */
  readonly module: string;
  /** Two numbers for each record that is done, one for the record that is worked on; behind it 1 when jq is loaded. */
  readonly progress: Int32Array;
  readonly limits: Limits;
}

export interface Question {
  readonly input: string;
  readonly filter: string;
}

export interface Answer {
  /** What was printed, also before a failure. */
  readonly stdout: string;
  /** How it failed; absent: it came to its end. */
  readonly failure?: "memory" | "output" | "broken";
  /** jq's own status and messages, where it ended by itself. */
  readonly exitCode?: number;
  readonly stderr?: string;
  /** Memory is never given back. */
  readonly memoryBytes: number;
}

/**
 * As text: under a test runner there is no compiled file beside this one. jq-web keeps a number for each byte that jq prints,
 * and says nothing before the end: so what is printed is taken where it leaves the WebAssembly, line by line.
 */
export const WORKER = `
const { parentPort, workerData } = require("node:worker_threads");
const { module, progress, limits } = workerData;
const NEWLINE = 10;
const ZERO = 48;
let chunks = [], bytes = 0, outputs = 0, lineLength = 0, lineStart = 0, inRecord = false;
let memory, failure;

function begin() {
  chunks = [];
  bytes = outputs = lineLength = 0;
  inRecord = false;
  failure = undefined;
  Atomics.store(progress, 0, 0);
}

// As stage.ts's parseAnswer reads it: the record itself, its outputs, and an end.
function endLine() {
  const isEnd = inRecord && lineLength === 1 && lineStart === ZERO;
  if (!inRecord || isEnd) {
    inRecord = !inRecord;
    outputs = 0;
    Atomics.add(progress, 0, 1);
  } else if (++outputs > limits.outputCount) refuse("output");
  lineLength = 0;
}

function take(chunk) {
  for (let from = 0; from < chunk.length; ) {
    if (lineLength === 0) lineStart = chunk[from];
    const end = chunk.indexOf(NEWLINE, from);
    lineLength += (end === -1 ? chunk.length : end) - from;
    if (end === -1) break;
    endLine();
    from = end + 1;
  }
  bytes += chunk.length;
  if (bytes > limits.outputBytes) refuse("output");
  chunks.push(chunk);
}

function refuse(what) {
  failure = what;
  throw new Error("beyond the limit of " + what);
}

const { instantiate } = WebAssembly;
WebAssembly.instantiate = async (binary, imports) => {
  const wasi = imports.wasi_snapshot_preview1;
  const fd_write = (fd, vectors, count, writtenAt) => {
    if (fd !== 1) return wasi.fd_write(fd, vectors, count, writtenAt);
    const view = new DataView(memory.buffer);
    let written = 0;
    for (let at = 0; at < count; at++) {
      const start = view.getUint32(vectors + at * 8, true);
      const length = view.getUint32(vectors + at * 8 + 4, true);
      if (length > 0) take(Buffer.from(new Uint8Array(memory.buffer, start, length)));
      written += length;
    }
    view.setUint32(writtenAt, written, true);
    return 0;
  };
  const result = await instantiate(binary, { ...imports, wasi_snapshot_preview1: { ...wasi, fd_write } });
  memory = result.instance.exports.memory;
  return result;
};
const { grow } = WebAssembly.Memory.prototype;
WebAssembly.Memory.prototype.grow = function (pages) {
  if (this.buffer.byteLength + pages * 65536 > limits.memoryBytes) refuse("memory");
  return grow.call(this, pages);
};

const loading = require(module);
parentPort.on("message", async ({ input, filter }) => {
  const jq = await loading;
  Atomics.store(progress, 1, 1);
  begin();
  let answer = {};
  try {
    jq.raw(input, filter, ["-c", "--unbuffered"]);
    // A refusal that jq could live with.
    failure = undefined;
  } catch (error) {
    if (typeof error.exitCode === "number") answer = { exitCode: error.exitCode, stderr: error.message };
    failure ??= "broken";
  }
  const stdout = Buffer.concat(chunks).toString();
  chunks = [];
  parentPort.postMessage({ ...answer, stdout, failure, memoryBytes: memory.buffer.byteLength });
});
`;
