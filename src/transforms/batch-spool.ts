/** Batches of one kind in a temporary file. */
import type { RecordKind } from "../catalog/index.js";
import { Spool } from "../document/files/spool.js";
import type { ByteInput } from "../document/reading/input.js";
import { StorageError } from "../errors.js";
import { type LargeValue, RecordBatch } from "../records/record-batch.js";

/**
 * A batch is four uint32 (rows, bytes, has a LargeValue, its field), the tables, the bytes; a LargeValue follows in chunks
 * with their lengths before them, and ends with the length 0. All in this machine's byte order.
 */
const HEAD_WORDS = 4;

export class BatchSpool {
  private constructor(
    private readonly kind: RecordKind,
    private readonly spool: Spool,
  ) {}

  /** E_IO, E_DISK_FULL, also of append. */
  static async create(kind: RecordKind): Promise<BatchSpool> {
    return new BatchSpool(kind, await Spool.create());
  }

  async append(batch: RecordBatch): Promise<void> {
    const { rows, bytes, starts, lengths, large } = batch;
    const cells = rows * batch.width;
    const head = Uint32Array.of(rows, bytes.length, large === undefined ? 0 : 1, large?.field ?? 0);
    for (const part of [head, starts.subarray(0, cells), lengths.subarray(0, cells), bytes])
      await this.spool.append(bytesOf(part));
    if (large === undefined) return;
    for await (const chunk of large.chunks()) {
      if (chunk.length === 0) continue;
      await this.spool.append(bytesOf(Uint32Array.of(chunk.length)));
      await this.spool.append(chunk);
    }
    await this.spool.append(bytesOf(Uint32Array.of(0)));
  }

  /** All batches, once; each is valid until the next is asked for. */
  async *read(): AsyncGenerator<RecordBatch, void, undefined> {
    const input = this.spool.reader();
    for (;;) {
      const head = await readWords(input, HEAD_WORDS);
      if (head === undefined) return;
      const [rows = 0, length = 0, hasLarge, field = 0] = head;
      const cells = rows * this.kind.fields.length;
      const starts = (await readWords(input, cells)) as Uint32Array;
      const lengths = new Int32Array(((await readWords(input, cells)) as Uint32Array).buffer);
      const bytes = await readBytes(input, length);
      const large = hasLarge === 1 ? largeFrom(input, field) : undefined;
      yield new RecordBatch(this.kind, rows, bytes, starts, lengths, large);
      await large?.discard();
    }
  }

  /** Idempotent; never throws. */
  close(): Promise<void> {
    return this.spool.close();
  }
}

function bytesOf(part: Uint32Array | Int32Array | Buffer): Buffer {
  return Buffer.from(part.buffer, part.byteOffset, part.byteLength);
}

function largeFrom(input: ByteInput, field: number): LargeValue {
  let ended = false;
  async function* chunks(): AsyncGenerator<Buffer, void, undefined> {
    while (!ended) {
      const [length = 0] = (await readWords(input, 1)) ?? [];
      if (length === 0) ended = true;
      else yield await readBytes(input, length);
    }
  }
  return {
    field,
    chunks,
    async discard() {
      for await (const _chunk of chunks());
    },
  };
}

/** Undefined at the end of the file. */
async function readWords(input: ByteInput, count: number): Promise<Uint32Array | undefined> {
  const bytes = await readBytes(input, count * 4, true);
  return bytes.length === 0 && count > 0 ? undefined : new Uint32Array(bytes.buffer, bytes.byteOffset, count);
}

async function readBytes(input: ByteInput, length: number, mayEnd = false): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  for (let at = 0; at < length; ) {
    const read = await input.read(bytes, at);
    if (read === 0 && at === 0 && mayEnd) return Buffer.alloc(0);
    if (read === 0) throw new StorageError("E_IO", "a temporary file ends early");
    at += read;
  }
  return bytes;
}
