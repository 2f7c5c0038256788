/** Finds the keys and values of one record (a JSON object) in a window, in one pass. */
import {
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
import { beyondLimit, NAME_BYTES, NAMES } from "./limits.js";
import { ValueSkipper } from "./value-skipper.js";

/** Numbers per field in `tokens`. */
export const TOKEN_WIDTH = 4;

export class RecordScanner {
  /** Per field: start and end of the key token, start and end of the value token (indexes in the window). */
  tokens = new Int32Array(64 * TOKEN_WIDTH);
  /** Fields found; when `scan` returned MORE, those that are complete. */
  count = 0;
  /** When `scan` returned MORE inside a string value: its start, and its key's tokens[count * TOKEN_WIDTH]; else -1. */
  openString = -1;
  private readonly skipper: ValueSkipper;

  constructor(private readonly scanner: JsonScanner) {
    this.skipper = new ValueSkipper(scanner);
  }

  /** `start` is at `{`. Returns the index behind `}`, or MORE. */
  scan(start: number): number {
    const { scanner } = this;
    const { buffer, limit } = scanner;
    this.count = 0;
    this.openString = -1;
    let i = scanner.skipSpace(start + 1);
    if (i >= limit) return MORE;
    if (buffer[i] === CLOSE_OBJECT) return i + 1;
    for (;;) {
      if (buffer[i] !== QUOTE) throw new JsonSyntaxError(i, "expected a key");
      const keyStart = i;
      const keyEnd = scanner.scanString(i + 1);
      if ((keyEnd === MORE ? limit : keyEnd) - keyStart > NAME_BYTES + 2)
        throw beyondLimit(`a record's key is longer than ${NAME_BYTES} bytes`);
      if (keyEnd === MORE) return MORE;
      i = scanner.skipSpace(keyEnd);
      if (i >= limit) return MORE;
      if (buffer[i] !== COLON) throw new JsonSyntaxError(i, "expected `:`");
      i = scanner.skipSpace(i + 1);
      if (i >= limit) return MORE;
      this.open(keyStart, keyEnd, i);
      const end = this.scanValue(i);
      if (end === MORE) return MORE;
      this.tokens[this.count * TOKEN_WIDTH + 3] = end;
      this.count++;
      i = scanner.skipSpace(end);
      if (i >= limit) return MORE;
      if (buffer[i] === CLOSE_OBJECT) return i + 1;
      if (buffer[i] !== COMMA) throw new JsonSyntaxError(i, "expected `,` or `}`");
      i = scanner.skipSpace(i + 1);
      if (i >= limit) return MORE;
    }
  }

  private open(keyStart: number, keyEnd: number, valueStart: number): void {
    const at = this.count * TOKEN_WIDTH;
    if (at === this.tokens.length) {
      if (this.count >= NAMES) throw beyondLimit(`a record has more than ${NAMES} keys`);
      const grown = new Int32Array(at * 2);
      grown.set(this.tokens);
      this.tokens = grown;
    }
    this.tokens[at] = keyStart;
    this.tokens[at + 1] = keyEnd;
    this.tokens[at + 2] = valueStart;
  }

  private scanValue(start: number): number {
    const { scanner, skipper } = this;
    const first = scanner.buffer[start];
    if (first === OPEN_OBJECT || first === OPEN_ARRAY) {
      skipper.start();
      const end = skipper.run(start);
      return skipper.done ? end : MORE;
    }
    const end = scanner.scanScalar(start);
    if (end === MORE && first === QUOTE) this.openString = start;
    return end;
  }
}
