/**
 * A strict JSON scanner over bytes: finds where tokens end and refuses whatever JSON.parse refuses. It parses no values.
 *
 * It works on the bytes `[…, limit)` of a window that may not hold the whole text yet: every method returns MORE when it
 * needs bytes beyond `limit`, and the caller comes again with more of them. UTF-8 is checked by the window.
 */

/** The token goes on beyond the window. */
export const MORE = -1;

/** The text is not JSON; `offset` is an index in the window. */
export class JsonSyntaxError extends Error {
  constructor(
    readonly offset: number,
    /** e.g. "expected `:`" */
    readonly expectation: string,
  ) {
    super(expectation);
  }
}

export const QUOTE = 0x22;
export const COMMA = 0x2c;
export const COLON = 0x3a;
export const OPEN_ARRAY = 0x5b;
export const CLOSE_ARRAY = 0x5d;
export const OPEN_OBJECT = 0x7b;
export const CLOSE_OBJECT = 0x7d;
const BACKSLASH = 0x5c;

const LITERALS: Readonly<Record<number, Buffer>> = {
  116: Buffer.from("true"),
  102: Buffer.from("false"),
  110: Buffer.from("null"),
};

/** What may follow a backslash: 1 alone, 2 with four hex digits. */
const ESCAPES = new Uint8Array(256);
for (const letter of '"\\/bfnrt') ESCAPES[letter.charCodeAt(0)] = 1;
ESCAPES[0x75] = 2;

const HEX = new Uint8Array(256);
for (const digit of "0123456789abcdefABCDEF") HEX[digit.charCodeAt(0)] = 1;

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

export class JsonScanner {
  buffer: Buffer = Buffer.alloc(0);
  limit = 0;
  /** No bytes come after `limit`. */
  final = false;
  /** When scanString returned MORE: everything before this index is part of the string, and no escape is cut by it. */
  resumeAt = 0;
  private words: Int32Array = new Int32Array(0);

  /** `buffer` must begin at a multiple of four in its ArrayBuffer (Buffer.allocUnsafeSlow does). */
  attach(buffer: Buffer, limit: number, final: boolean): void {
    if (this.buffer !== buffer) this.words = new Int32Array(buffer.buffer, buffer.byteOffset, buffer.length >> 2);
    this.buffer = buffer;
    this.limit = limit;
    this.final = final;
  }

  /** The index of the next byte that is no white space; `limit` when there is none. */
  skipSpace(from: number): number {
    const { buffer, limit } = this;
    let i = from;
    while (i < limit) {
      const byte = buffer[i] as number;
      if (byte > 0x20 || (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)) return i;
      i++;
    }
    return i;
  }

  /** `from` is behind the opening quotation mark, or where scanString left off. The index behind the closing one. */
  scanString(from: number): number {
    const { buffer, limit } = this;
    let i = from;
    for (;;) {
      i = this.skipPlain(i);
      if (i >= limit) {
        this.resumeAt = limit;
        return MORE;
      }
      const byte = buffer[i] as number;
      if (byte === QUOTE) return i + 1;
      if (byte !== BACKSLASH) throw new JsonSyntaxError(i, "expected no control character inside a string");
      const kind = i + 1 < limit ? ESCAPES[buffer[i + 1] as number] : undefined;
      if (kind === 0) throw new JsonSyntaxError(i + 1, "expected an escape");
      const end = kind === 2 ? i + 6 : i + 2;
      for (let hex = i + 2; hex < end && hex < limit; hex++)
        if (HEX[buffer[hex] as number] === 0) throw new JsonSyntaxError(hex, "expected a hexadecimal digit");
      if (kind === undefined || end > limit) {
        this.resumeAt = i;
        return MORE;
      }
      i = end;
    }
  }

  /** The next quotation mark, backslash or control character; four bytes at a time, which is what makes base64 fast. */
  private skipPlain(from: number): number {
    const { buffer, words, limit } = this;
    let i = from;
    for (;;) {
      const aligned = Math.min(limit, (i + 3) & ~3);
      for (; i < aligned; i++) if (isSpecial(buffer[i] as number)) return i;
      const last = limit >> 2;
      let word = i >> 2;
      for (; word < last; word++) {
        const bytes = words[word] as number;
        const quotes = bytes ^ 0x22222222;
        const backslashes = bytes ^ 0x5c5c5c5c;
        // The high bit of a byte is set where it is below 0x20, or equal to one of the two (Hacker's Delight, 6-1).
        const hits =
          ((bytes - 0x20202020) & ~bytes) |
          ((quotes - 0x01010101) & ~quotes) |
          ((backslashes - 0x01010101) & ~backslashes);
        if ((hits & 0x80808080) !== 0) break;
      }
      i = Math.max(i, word << 2);
      const stop = Math.min(limit, i + 4);
      for (; i < stop; i++) if (isSpecial(buffer[i] as number)) return i;
      if (i >= limit) return i;
    }
  }

  /** The index behind the number that begins at `from`. */
  scanNumber(from: number): number {
    const { buffer, limit } = this;
    let i = from;
    if (buffer[i] === 0x2d) i++;
    if (i >= limit) return MORE;
    if (buffer[i] === 0x30) i++;
    else if (isDigit(buffer[i] as number)) i = this.skipDigits(i);
    else throw new JsonSyntaxError(i, "expected a digit");
    if (i < limit && buffer[i] === 0x2e) {
      if (++i >= limit) return MORE;
      if (!isDigit(buffer[i] as number)) throw new JsonSyntaxError(i, "expected a digit");
      i = this.skipDigits(i);
    }
    if (i < limit && (buffer[i] === 0x65 || buffer[i] === 0x45)) {
      i++;
      if (i < limit && (buffer[i] === 0x2b || buffer[i] === 0x2d)) i++;
      if (i >= limit) return MORE;
      if (!isDigit(buffer[i] as number)) throw new JsonSyntaxError(i, "expected a digit");
      i = this.skipDigits(i);
    }
    return i < limit || this.final ? i : MORE;
  }

  private skipDigits(from: number): number {
    let i = from;
    while (i < this.limit && isDigit(this.buffer[i] as number)) i++;
    return i;
  }

  /** The index behind the string, number or literal that begins at `from` (which is below `limit`). */
  scanScalar(from: number): number {
    const { buffer, limit } = this;
    const first = buffer[from] as number;
    if (first === QUOTE) return this.scanString(from + 1);
    if (isDigit(first) || first === 0x2d) return this.scanNumber(from);
    const literal = LITERALS[first];
    if (literal === undefined) throw new JsonSyntaxError(from, "expected value");
    for (let i = 1; i < literal.length; i++) {
      if (from + i >= limit) return MORE;
      if (buffer[from + i] !== literal[i]) throw new JsonSyntaxError(from, "expected value");
    }
    return from + literal.length;
  }
}

function isSpecial(byte: number): boolean {
  return byte === QUOTE || byte === BACKSLASH || byte < 0x20;
}
