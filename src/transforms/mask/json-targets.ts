/** Finds the values that a path names in valid JSON text, without parsing it. */
import {
  CLOSE_ARRAY,
  CLOSE_OBJECT,
  COMMA,
  JsonScanner,
  OPEN_ARRAY,
  OPEN_OBJECT,
} from "../../document/reading/json-scanner.js";
import { ValueSkipper } from "../../document/reading/value-skipper.js";
import type { Segment } from "./path.js";

export class JsonTargets {
  private readonly scanner = new JsonScanner();
  private readonly skipper = new ValueSkipper(this.scanner);
  private readonly keys: readonly (Buffer | undefined)[];
  /** The last text has an array without elements where the path ends in `[]`. */
  hasEmptyArray = false;
  private found: number[] = [];
  /** The last source, and a copy where the scanner cannot work on it (a batch of somebody's own source). */
  private source: Buffer | undefined;
  private aligned: Buffer | undefined;

  constructor(private readonly path: readonly Segment[]) {
    this.keys = path.map((segment) => (segment === "[]" ? undefined : Buffer.from(segment.key, "utf8")));
  }

  /** Start and end of each value in `source[start, end)` that the path names, in their order: every one of a repeated key. */
  find(source: Buffer, start: number, end: number): readonly number[] {
    this.found = [];
    this.hasEmptyArray = false;
    if (this.source !== source) {
      this.source = source;
      this.aligned = source.byteOffset % 4 === 0 ? source : Buffer.from(Uint8Array.from(source).buffer);
    }
    this.scanner.attach(this.aligned as Buffer, end, true);
    this.walk(this.scanner.skipSpace(start), 0);
    return this.found;
  }

  /** The value at `at`, of which `path[depth…]` is looked for; the index behind it. */
  private walk(at: number, depth: number): number {
    const segment = this.path[depth];
    if (segment === undefined) {
      const end = this.skip(at);
      this.found.push(at, end);
      return end;
    }
    const first = this.scanner.buffer[at];
    if (segment === "[]") return first === OPEN_ARRAY ? this.elements(at, depth) : this.skip(at);
    return first === OPEN_OBJECT ? this.members(at, depth) : this.skip(at);
  }

  private elements(at: number, depth: number): number {
    const { scanner } = this;
    let i = scanner.skipSpace(at + 1);
    if (scanner.buffer[i] === CLOSE_ARRAY && depth === this.path.length - 1) this.hasEmptyArray = true;
    while (scanner.buffer[i] !== CLOSE_ARRAY) {
      i = scanner.skipSpace(this.walk(i, depth + 1));
      if (scanner.buffer[i] === COMMA) i = scanner.skipSpace(i + 1);
    }
    return i + 1;
  }

  private members(at: number, depth: number): number {
    const { scanner } = this;
    let i = scanner.skipSpace(at + 1);
    while (scanner.buffer[i] !== CLOSE_OBJECT) {
      const keyEnd = scanner.scanString(i + 1);
      const value = scanner.skipSpace(scanner.skipSpace(keyEnd) + 1);
      i = scanner.skipSpace(this.isKey(i, keyEnd, depth) ? this.walk(value, depth + 1) : this.skip(value));
      if (scanner.buffer[i] === COMMA) i = scanner.skipSpace(i + 1);
    }
    return i + 1;
  }

  private isKey(start: number, end: number, depth: number): boolean {
    const key = this.keys[depth] as Buffer;
    const { buffer } = this.scanner;
    if (end - start - 2 === key.length && key.compare(buffer, start + 1, end - 1) === 0) return true;
    if (buffer.subarray(start, end).indexOf(0x5c) === -1) return false;
    return (JSON.parse(buffer.toString("utf8", start, end)) as string) === (this.path[depth] as { key: string }).key;
  }

  private skip(at: number): number {
    this.skipper.start();
    return this.skipper.run(at);
  }
}
