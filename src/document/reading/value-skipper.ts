/** Skips one JSON value of any depth and length, strictly, without recursion and without holding it. */
import {
  CLOSE_ARRAY,
  CLOSE_OBJECT,
  COLON,
  COMMA,
  type JsonScanner,
  JsonSyntaxError,
  MORE,
  OPEN_ARRAY,
  OPEN_OBJECT,
  QUOTE,
} from "./json-scanner.js";

import { beyondLimit, DEPTH } from "./limits.js";

const VALUE = 0;
const VALUE_OR_END = 1;
const KEY_OR_END = 2;
const KEY = 3;
const IN_KEY = 4;
const KEY_SEPARATOR = 5;
const IN_STRING = 6;
const AFTER_VALUE = 7;

/** Skips a value across windows: `start()`, then `run` until `done`. */
export class ValueSkipper {
  /** The value is complete: what `run` returned is the index behind it. */
  done = false;
  /** Values that stand directly in the outermost array or object. */
  elements = 0;
  private state = VALUE;
  private depth = 0;
  /** The closing byte of each open container. */
  private closers = new Uint8Array(64);

  constructor(private readonly scanner: JsonScanner) {}

  start(): void {
    this.done = false;
    this.elements = 0;
    this.state = VALUE;
    this.depth = 0;
  }

  /** Instead of start(): behind an element of the array that is the outermost value. */
  startInArray(): void {
    this.start();
    this.open(CLOSE_ARRAY);
    this.elements = 0;
    this.state = AFTER_VALUE;
  }

  /** Goes on at `from`; returns the index up to which everything is dealt with. */
  run(from: number): number {
    const { scanner } = this;
    const { buffer, limit } = scanner;
    let i = from;
    for (;;) {
      if (this.state === IN_STRING || this.state === IN_KEY) {
        const end = scanner.scanString(i);
        if (end === MORE) return scanner.resumeAt;
        i = end;
        if (this.state === IN_KEY) this.state = KEY_SEPARATOR;
        else if (this.endValue()) return i;
        continue;
      }
      i = scanner.skipSpace(i);
      if (i >= limit) return i;
      const byte = buffer[i] as number;
      switch (this.state) {
        case AFTER_VALUE:
          if (byte === COMMA) this.state = this.closers[this.depth - 1] === CLOSE_OBJECT ? KEY : VALUE;
          else if (byte !== this.closers[this.depth - 1])
            throw new JsonSyntaxError(
              i,
              this.closers[this.depth - 1] === CLOSE_OBJECT ? "expected `,` or `}`" : "expected `,` or `]`",
            );
          else if (this.close()) return i + 1;
          i++;
          break;
        case KEY_SEPARATOR:
          if (byte !== COLON) throw new JsonSyntaxError(i, "expected `:`");
          this.state = VALUE;
          i++;
          break;
        case KEY:
        case KEY_OR_END:
          if (byte === QUOTE) this.state = IN_KEY;
          else if (byte !== CLOSE_OBJECT || this.state === KEY) throw new JsonSyntaxError(i, "expected a key");
          else if (this.close()) return i + 1;
          i++;
          break;
        default:
          if (byte === CLOSE_ARRAY && this.state === VALUE_OR_END) {
            i++;
            if (this.close()) return i;
          } else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
            this.open(byte === OPEN_ARRAY ? CLOSE_ARRAY : CLOSE_OBJECT);
            i++;
          } else if (byte === QUOTE) {
            this.count();
            this.state = IN_STRING;
            i++;
          } else {
            const end = scanner.scanScalar(i);
            if (end === MORE) return i;
            this.count();
            i = end;
            if (this.endValue()) return i;
          }
      }
    }
  }

  private count(): void {
    if (this.depth === 1) this.elements++;
  }

  private open(closer: number): void {
    this.count();
    if (this.depth === this.closers.length) {
      if (this.depth >= DEPTH) throw beyondLimit(`a value is nested more than ${DEPTH} deep`);
      const grown = new Uint8Array(Math.min(DEPTH, this.depth * 2));
      grown.set(this.closers);
      this.closers = grown;
    }
    this.closers[this.depth++] = closer;
    this.state = closer === CLOSE_ARRAY ? VALUE_OR_END : KEY_OR_END;
  }

  private close(): boolean {
    this.depth--;
    return this.endValue();
  }

  /** True when that was the outermost value. */
  private endValue(): boolean {
    this.state = AFTER_VALUE;
    this.done = this.depth === 0;
    return this.done;
  }
}
