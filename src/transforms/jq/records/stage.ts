/** One program, slice or drop over the values that records became so far. */
import { setImmediate } from "node:timers/promises";
import type { ErrorCode } from "../../../errors.js";
import { runWithin } from "../../interruptible.js";
import { JqError } from "../compiled/access.js";
import { NotCompiled } from "../compiled/code.js";
import { compileProgram, type Program } from "../compiled/compile.js";
import { parseJsonText } from "../compiled/json-parser.js";
import { Undecided } from "../compiled/numbers.js";
import { alwaysGives, isQuick, type Usage, usageOf } from "../compiled/usage.js";
import { JsonObject, printKept, type Value } from "../compiled/values.js";
import type { Step } from "../document.js";
import type { Ast } from "../language/ast.js";
import { type RealFailure, RealJq, type RealResult } from "../real/real-jq.js";
import { MEMORY_BYTES, OUTPUT_BYTES, OUTPUT_COUNT } from "../real/real-jq-worker.js";
import { RecordObject } from "./record-object.js";
import { restoreTexts } from "./restored-text.js";

/** Records that jq is given at once. */
const REAL_RECORDS = 1000;
/** The same in characters, about. */
const REAL_CHARACTERS = 4194304;
/** After so long signals are heard before the next record. */
const SLICE_MILLISECONDS = 100;
/** What takes longer is left to jq's thread. */
const COMPILED_MILLISECONDS = 500;
/** After so many records of that kind it is left all of them. */
const SLOW_RECORDS = 3;

/** A value that a row became. */
export interface Item {
  readonly row: number;
  readonly value: Value;
}

/** Called for a row at which the program fails. `code`: default E_JQ. */
export type Fail = (row: number, message: string, code?: ErrorCode, hint?: string) => void;

/** A program and its two engines. */
export class JqProgram {
  private readonly compiled: Program | undefined;
  /** Why it is not compiled. */
  readonly reason: string | undefined;
  readonly usage: Usage;
  readonly mayDrop: boolean;
  /** Whether the closures take no longer than reading the record. */
  private readonly isQuick: boolean;
  private slowRecords = 0;

  /** `ast`: undefined where only jq itself understands the program. `seconds`: what jq itself may take for a record. */
  constructor(
    readonly source: string,
    ast: Ast | undefined,
    readonly now: number,
    readonly seconds: number,
  ) {
    this.isQuick = ast !== undefined && isQuick(ast);
    this.usage = ast === undefined ? { fields: undefined, expected: new Set(), keepsRecord: false } : usageOf(ast);
    this.mayDrop = ast === undefined || !alwaysGives(ast);
    try {
      if (ast === undefined) throw new NotCompiled("syntax that is not known here");
      this.compiled = compileProgram(ast, now);
    } catch (error) {
      if (!(error instanceof NotCompiled)) throw error;
      this.reason = error.message;
    }
  }

  /** All outputs for all items, in order. */
  async run(items: readonly Item[], fail: Fail, real: RealJqPool, signal: AbortSignal): Promise<Item[]> {
    const outputs: Item[] = [];
    /** Items for jq itself, and how many outputs stood before theirs. */
    const left: Item[] = [];
    const places: number[] = [];
    const leave = (item: Item, count: number): void => {
      outputs.length = count;
      left.push(item);
      places.push(count);
    };
    for (let at = 0; at < items.length; ) {
      let count = 0;
      const until = performance.now() + SLICE_MILLISECONDS;
      const work = (): void => {
        for (; at < items.length && performance.now() < until; at++) {
          count = outputs.length;
          const item = items[at] as Item;
          if (!this.attempt(item, outputs, fail)) leave(item, count);
        }
      };
      if (this.isQuick || this.compiled === undefined) work();
      else if (runWithin(COMPILED_MILLISECONDS, work) === "cut") {
        this.slowRecords++;
        leave(items[at++] as Item, count);
      }
      if (at < items.length) await setImmediate();
      signal.throwIfAborted();
    }
    if (left.length === 0) return outputs;
    const found = await this.runReal(left, fail, real.of(this), signal);
    const merged: Item[] = [];
    let from = 0;
    for (const [at, place] of places.entries()) {
      for (; from < place; from++) merged.push(outputs[from] as Item);
      for (const value of found[at] as Value[]) merged.push({ row: (left[at] as Item).row, value });
    }
    for (; from < outputs.length; from++) merged.push(outputs[from] as Item);
    return merged;
  }

  /** False where the item is jq's. */
  private attempt({ row, value }: Item, outputs: Item[], fail: Fail): boolean {
    if (this.compiled === undefined || this.slowRecords >= SLOW_RECORDS) return false;
    try {
      this.compiled(value, (output) => {
        outputs.push({ row, value: output });
      });
    } catch (error) {
      // A stack that overflows: jq has one of its own.
      if (error instanceof Undecided || error instanceof RangeError) return false;
      if (!(error instanceof JqError)) throw error;
      fail(row, error.message);
    }
    return true;
  }

  private async runReal(items: readonly Item[], fail: Fail, jq: RealJq, signal: AbortSignal): Promise<Value[][]> {
    const outputs: Value[][] = [];
    for (let from = 0; from < items.length; ) {
      const texts: string[] = [];
      let characters = 0;
      while (from + texts.length < items.length && texts.length < REAL_RECORDS && characters < REAL_CHARACTERS) {
        const text = this.textFor((items[from + texts.length] as Item).value);
        characters += text.length;
        texts.push(text);
      }
      const results = await jq.run(texts, signal);
      for (const [at, result] of results.entries()) {
        const { row, value } = items[from + at] as Item;
        if (typeof result === "string") {
          this.failAtLimit(row, result, fail);
          outputs.push([]);
          continue;
        }
        if (result.error !== undefined) fail(row, shownMessage(result.error));
        outputs.push(result.outputs.map((output) => this.read(output, result, value)));
      }
      from += texts.length;
    }
    return outputs;
  }

  private failAtLimit(row: number, failure: RealFailure, fail: Fail): void {
    switch (failure) {
      case "time": {
        const message = `the expression did not come to an end within ${this.seconds} seconds`;
        fail(row, message, "E_JQ_LIMIT", "--jq-timeout gives it more time.");
        break;
      }
      case "memory":
        fail(row, `the expression needs more than ${MEMORY_BYTES / 2 ** 30} GiB of memory`, "E_JQ_LIMIT");
        break;
      case "output": {
        const bytes = `${OUTPUT_BYTES / 2 ** 20} MiB`;
        fail(row, `the expression gives more than ${OUTPUT_COUNT} outputs, or ${bytes}, for one record`, "E_JQ_LIMIT");
        break;
      }
      case "broken":
        fail(row, "jq itself broke at the record");
    }
  }

  private isPartial(value: Value): value is RecordObject {
    return value instanceof RecordObject && this.usage.fields !== undefined;
  }

  private textFor(value: Value): string {
    if (!(value instanceof RecordObject)) return printKept(value);
    const names = this.usage.fields ?? [...value.context.names.indexOf.keys(), ...(value.changes?.keys() ?? [])];
    const parts: string[] = [];
    for (const name of new Set(names)) {
      const text = value.textOf(name);
      if (text !== undefined) parts.push(`${JSON.stringify(name)}:${text}`);
    }
    return `{${parts.join(",")}}`;
  }

  private read(text: string, { identity }: RealResult, source: Value): Value {
    const output = parseJsonText(text);
    const before = parseJsonText(identity);
    if (!this.isPartial(source)) return restoreTexts(output, before, source);
    const isRecord = this.usage.keepsRecord && output instanceof JsonObject && before instanceof JsonObject;
    if (!isRecord) return restoreTexts(output, before, this.givenPart(source));
    // Fields that jq was not given are what they were.
    const changes = new Map(source.changes);
    for (const [key, member] of output.map()) {
      const same = before.get(key);
      const old = source.get(key);
      if (same !== undefined && old !== undefined) {
        const restored = restoreTexts(member, same, old);
        if (restored !== old) changes.set(key, this.movedNumbers(restored, source));
      } else changes.set(key, this.movedNumbers(member, source));
    }
    for (const key of before.map().keys()) if (output.get(key) === undefined) changes.set(key, undefined);
    return changes.size === 0 ? source : source.changed(changes);
  }

  /** What jq was given of a record. */
  private givenPart(source: RecordObject): JsonObject {
    const members = new Map<string, Value>();
    for (const name of this.usage.fields ?? []) {
      const value = source.get(name);
      if (value !== undefined) members.set(name, value);
    }
    return new JsonObject(members);
  }

  /** Numbers that came from other fields of the record. */
  private movedNumbers(value: Value, source: RecordObject): Value {
    return restoreTexts(value, null, this.givenPart(source));
  }
}

/** The threads of real jq of one run, one for each program that needs it. */
export class RealJqPool {
  private readonly running = new Map<JqProgram, RealJq>();

  of(program: JqProgram): RealJq {
    let jq = this.running.get(program);
    if (jq === undefined) {
      jq = new RealJq(program.source, program.now, program.seconds);
      this.running.set(program, jq);
    }
    return jq;
  }

  close(): void {
    for (const jq of this.running.values()) jq.close();
    this.running.clear();
  }
}

/** Counts the records of a slice. */
export class Slice {
  private seen = 0;
  constructor(private readonly step: Step & { type: "slice" }) {}

  keep(items: readonly Item[]): Item[] {
    return items.filter(() => {
      const at = this.seen++;
      return at >= this.step.from && at < this.step.to;
    });
  }
}

const TWO_VALUES = /^(\w+) \(.*\) and (\w+) \(.*\) (cannot be [a-z ()]+)$/s;
const ONE_VALUE = /^(\w+) \(.*\) ([a-z ,]+)$/s;
const ACCESS = /^(Cannot (?:index|iterate over) \w+)(?: with (?:string|number|object|array|null|boolean))?/;

/** jq's messages quote values; those of records are not shown. */
function shownMessage(error: string): string {
  const message: unknown = JSON.parse(error);
  if (typeof message !== "string") return "error";
  const two = TWO_VALUES.exec(message);
  if (two !== null) return `${two[1]} and ${two[2]} ${two[3]}`;
  const one = ONE_VALUE.exec(message);
  if (one !== null) return `${one[1]} ${one[2]}`;
  return ACCESS.exec(message)?.[0] ?? "the program failed";
}
