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
    this.length = this.bytes.writeInt32BE(value, this.length);
  }

  int64(value: bigint): void {
    this.ensure(8);
    this.length = this.bytes.writeBigInt64BE(value, this.length);
  }

  copy(source: Uint8Array, start: number, end: number): void {
    this.ensure(end - start);
    this.bytes.set(source.subarray(start, end), this.length);
    this.length += end - start;
  }

  /** `text` must hold code points below U+0100 only. */
  latin1(text: string): void {
    this.ensure(text.length);
    this.length += this.bytes.write(text, this.length, "latin1");
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
