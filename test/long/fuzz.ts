/**
 * What the fuzzing tests share. Each case has a seed of its own (FUZZ_SEED + its number): FUZZ_SEED=<the case's> FUZZ_RUNS=1
 * repeats it alone.
 */
import { readdirSync } from "node:fs";
import { StorageError } from "../../src/index.js";

export interface FuzzOptions {
  readonly runs: number;
  readonly seed: number;
}

/** Nothing may take longer for one case. */
export const HANG_MILLISECONDS = 30000;

export function fuzzOptions(runs: number): FuzzOptions {
  return {
    runs: Number(process.env["FUZZ_RUNS"] ?? Math.ceil(runs * Number(process.env["FUZZ_SHARE"] ?? 1))),
    seed: Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 30)),
  };
}

export class Random {
  constructor(private state: number) {}

  /** From 0 up to, not including, `below`. */
  integer(below: number): number {
    // mulberry32
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.integer(list.length)] as T;
  }

  chance(oneIn: number): boolean {
    return this.integer(oneIn) === 0;
  }
}

/** Bytes changed, taken out, doubled, cut off. */
export function mutateBytes(bytes: Buffer, random: Random): Buffer {
  let mutated = Buffer.from(bytes);
  for (let count = 1 + random.integer(3); count > 0 && mutated.length > 0; count--) {
    const at = random.integer(mutated.length);
    const length = 1 + random.integer(random.chance(4) ? 2000 : 8);
    switch (random.integer(6)) {
      case 0:
        mutated[at] = random.integer(256);
        break;
      case 1:
        mutated[at] = (mutated[at] as number) ^ (1 << random.integer(8));
        break;
      case 2:
        mutated = Buffer.concat([mutated.subarray(0, at), mutated.subarray(at + length)]);
        break;
      case 3:
        mutated = Buffer.concat([mutated.subarray(0, at + length), mutated.subarray(at)]);
        break;
      case 4:
        mutated = mutated.subarray(0, at);
        break;
      default:
        mutated = Buffer.concat([
          mutated.subarray(0, at),
          Buffer.from(
            random.pick(['"', "{", "}", "[", "]", ",", ":", "\\", "\u0000", "\ufeff", "null", " ", "\n", "1e9", "-"]),
          ),
          mutated.subarray(at),
        ]);
    }
  }
  return mutated;
}

/** The findings of a run; the test shows them all, and fails when there is one. */
export class Findings {
  readonly list: string[] = [];
  readonly counts = new Map<string, number>();

  add(seed: number, what: string): void {
    this.list.push(`seed ${seed}: ${what}`);
  }

  count(outcome: string): void {
    this.counts.set(outcome, (this.counts.get(outcome) ?? 0) + 1);
  }

  /** An error that a user may meet: coded, and not ours. */
  checkError(seed: number, error: unknown): string {
    if (!(error instanceof StorageError)) {
      this.add(seed, `no StorageError: ${error instanceof Error ? error.stack : String(error)}`);
      return "no StorageError";
    }
    if (error.code === "E_UNEXPECTED")
      this.add(seed, `E_UNEXPECTED: ${error.message}\n${(error.cause as Error)?.stack ?? error.stack}`);
    return error.code;
  }

  /** Files in a folder that should hold `expected` only. */
  checkFolder(seed: number, folder: string, expected: readonly string[]): void {
    const left = readdirSync(folder).filter((name) => !expected.includes(name));
    if (left.length > 0) this.add(seed, `left in ${folder}: ${left.join(", ")}`);
  }

  report(what: string, { runs, seed }: FuzzOptions): string {
    const outcomes = [...this.counts].sort(([, a], [, b]) => b - a).map(([name, count]) => `${name} ${count}`);
    return `${what}: seed ${seed}, ${runs} cases, ${this.list.length} findings; ${outcomes.join(", ")}`;
  }
}

/** The result of `work`, and whether it took longer than anything may. */
export async function timed<T>(findings: Findings, seed: number, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`it hangs for ${HANG_MILLISECONDS} ms`)), HANG_MILLISECONDS);
  });
  const started = performance.now();
  try {
    return await Promise.race([work(), hang]);
  } finally {
    clearTimeout(timer);
    // What blocks the thread does not let the timer fire.
    if (performance.now() - started > HANG_MILLISECONDS) findings.add(seed, "it took longer than 30 s");
  }
}
