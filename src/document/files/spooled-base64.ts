/** A long base64 string of a document, kept in a temporary file: strictly validated, decoded again where it is read. */
import { LARGE_VALUE_BYTES } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { decodeBase64, invalidBase64 } from "../../codecs/bytes.js";
import { StorageError } from "../../errors.js";
import type { LargeValue } from "../../records/record-batch.js";
import type { Spool } from "./spool.js";

/** A string token of this many bytes or more may decode to a large value. */
export const LARGE_TOKEN_BYTES = Math.ceil(LARGE_VALUE_BYTES / 3) * 4 + 2;

/** Raw bytes per read. */
const READ_BYTES = 393216;

/** Decodes the body of a JSON string token that holds base64, piece by piece. E_INVALID_BASE64. */
class Base64Decoder {
  /** An escape that the piece before cut, and less than four characters that wait for more. */
  private escape = Buffer.alloc(0);
  private carry = Buffer.alloc(0);
  private padded = false;

  decode(raw: Buffer, out: ByteWriter): void {
    let text = this.unescape(raw);
    if (this.carry.length > 0) {
      const missing = 4 - this.carry.length;
      this.carry = Buffer.concat([this.carry, text.subarray(0, missing)]);
      text = text.subarray(missing);
      if (this.carry.length < 4) return;
      this.decodeWhole(this.carry, 4, out);
    }
    const whole = text.length - (text.length % 4);
    this.carry = Buffer.from(text.subarray(whole));
    if (whole > 0) this.decodeWhole(text, whole, out);
  }

  private decodeWhole(characters: Buffer, length: number, out: ByteWriter): void {
    if (this.padded) throw invalidBase64();
    decodeBase64(characters, 0, length, out);
    this.padded = characters[length - 1] === 0x3d;
  }

  end(): void {
    if (this.carry.length > 0 || this.escape.length > 0) throw invalidBase64();
  }

  private unescape(raw: Buffer): Buffer {
    const bytes = this.escape.length === 0 ? raw : Buffer.concat([this.escape, raw]);
    this.escape = Buffer.alloc(0);
    let cut = bytes.length;
    for (let at = bytes.indexOf(0x5c); at !== -1; ) {
      const end = at + (bytes[at + 1] === 0x75 ? 6 : 2);
      if (end > bytes.length) cut = at;
      at = end > bytes.length ? -1 : bytes.indexOf(0x5c, end);
    }
    if (cut < bytes.length) this.escape = Buffer.from(bytes.subarray(cut));
    if (bytes.indexOf(0x5c) === -1) return bytes;
    return Buffer.from(JSON.parse(`"${bytes.toString("utf8", 0, cut)}"`) as string, "utf8");
  }
}

/** Memory that serves for one spooled value after the other: of its own each would leave a megabyte to be collected. */
export class SpooledBase64Memory {
  readonly chunk = Buffer.allocUnsafeSlow(READ_BYTES);
  readonly decoded = new ByteWriter(READ_BYTES);
}

export class SpooledBase64 {
  /** Decoded bytes. */
  length = 0;
  /** What is wrong with the text, once it is known. */
  error: StorageError | undefined;
  private readonly decoder = new Base64Decoder();

  /** `spool` is empty; it and the memory belong to this value until the spool is cleared. */
  constructor(
    private readonly spool: Spool,
    private readonly memory: SpooledBase64Memory,
  ) {}

  /** The next bytes of the string token's body. */
  async append(raw: Buffer): Promise<void> {
    const { decoded } = this.memory;
    decoded.length = 0;
    this.check(() => this.decoder.decode(raw, decoded));
    this.length += decoded.length;
    await this.spool.append(raw);
  }

  end(): void {
    this.check(() => this.decoder.end());
  }

  /** The string token's body as it came; each chunk is valid until the next is asked for. */
  async *rawChunks(): AsyncGenerator<Buffer, void, undefined> {
    const reader = this.spool.reader();
    const { chunk } = this.memory;
    for (let count = await reader.read(chunk, 0); count > 0; count = await reader.read(chunk, 0))
      yield chunk.subarray(0, count);
  }

  /** The decoded bytes; each chunk is valid until the next is asked for. */
  async *chunks(): AsyncGenerator<Buffer, void, undefined> {
    const decoder = new Base64Decoder();
    const out = this.memory.decoded;
    for await (const raw of this.rawChunks()) {
      out.length = 0;
      decoder.decode(raw, out);
      if (out.length > 0) yield out.view();
    }
  }

  asLargeValue(field: number): LargeValue {
    return { field, chunks: () => this.chunks(), discard: () => this.spool.clear() };
  }

  private check(action: () => void): void {
    if (this.error !== undefined) return;
    try {
      action();
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.error = error;
    }
  }
}
