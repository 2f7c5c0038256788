/** Up to here a loop is faster than a call into native code: of texts, and of bytes. Bytes. */
const SHORT = 64;
const SHORT_COPY = 28;

/**
 * As Buffer's `copy`, which needs no view of the source as `set` does, and does not go byte by byte where another thread sees
 * one of the two: but of a whole buffer it calls `set`, too. So it never gets a whole one.
 */
export function copyBytes(source: Uint8Array, target: Uint8Array, at: number, start: number, end: number): void {
  let copied = end;
  if (start === 0 && end === source.length && end > 0) {
    copied--;
    target[at + copied] = source[copied] as number;
  }
  bufferCopy.call(source, target, at, start, copied);
}

const bufferCopy = Buffer.prototype.copy;

/** A growing byte buffer. Writers call `ensure`, write into `bytes` at `length`, and advance `length`. */
export class ByteWriter {
  bytes: Buffer;
  length = 0;

  constructor(capacity = 65536) {
    this.bytes = Buffer.allocUnsafeSlow(capacity);
  }

  /** Makes room for `count` more bytes. `bytes` may be another object afterwards. */
  ensure(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }

  byte(value: number): void {
    this.ensure(1);
    this.bytes[this.length++] = value;
  }

  int32(value: number): void {
    this.ensure(4);
    const at = this.length;
    this.bytes[at] = value >> 24;
    this.bytes[at + 1] = value >> 16;
    this.bytes[at + 2] = value >> 8;
    this.bytes[at + 3] = value;
    this.length = at + 4;
  }

  int64(value: bigint): void {
    this.ensure(8);
    this.length = this.bytes.writeBigInt64BE(value, this.length);
  }

  /** A Number that is a safe integer, as int64. */
  safeInt64(value: number): void {
    const high = Math.floor(value / 4294967296);
    this.int32(high | 0);
    this.int32((value - high * 4294967296) | 0);
  }

  /** A Number that is a safe integer, in decimal. */
  decimal(value: number): void {
    this.ensure(20);
    let rest = value;
    if (rest < 0) {
      this.bytes[this.length++] = 0x2d;
      rest = -rest;
    }
    if (rest < 1e8) {
      this.digits(rest, 0);
      return;
    }
    const high = Math.floor(rest / 1e8);
    this.digits(high, 0);
    this.digits(rest - high * 1e8, 8);
  }

  /** `value` is below 10^8; at least `width` digits, with zeros before it. */
  private digits(value: number, width: number): void {
    let count = Math.max(1, width);
    for (let power = 10 ** count; power <= value; power *= 10) count++;
    let rest = value;
    for (let at = this.length + count - 1; at >= this.length; at--) {
      const tenth = (rest / 10) | 0;
      this.bytes[at] = 0x30 + rest - tenth * 10;
      rest = tenth;
    }
    this.length += count;
  }

  copy(source: Uint8Array, start: number, end: number): void {
    const count = end - start;
    this.ensure(count);
    if (count > SHORT_COPY) {
      copyBytes(source, this.bytes, this.length, start, end);
    } else {
      const target = this.bytes;
      let at = this.length;
      for (let i = start; i < end; i++) target[at++] = source[i] as number;
    }
    this.length += count;
  }

  /** `text` must hold code points below U+0100 only. */
  latin1(text: string): void {
    this.ensure(text.length);
    if (text.length > SHORT) {
      this.length += this.bytes.write(text, this.length, "latin1");
      return;
    }
    for (let i = 0; i < text.length; i++) this.bytes[this.length++] = text.charCodeAt(i);
  }

  /** A lone surrogate would become U+FFFD: check `isWellFormed()` before. */
  utf8(text: string): void {
    this.ensure(text.length * 3);
    this.length += this.bytes.write(text, this.length, "utf8");
  }

  /** The written bytes; they share memory with the writer. */
  view(): Buffer {
    return this.bytes.subarray(0, this.length);
  }
}
