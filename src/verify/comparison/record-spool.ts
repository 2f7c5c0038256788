/** Records of one kind in a temporary file, to be found again in the order of their keys. */
import { LARGE_VALUE_BYTES, type RecordKind } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { EntrySorter } from "../../document/files/entry-sorter.js";
import { Spool } from "../../document/files/spool.js";
import { StorageError } from "../../errors.js";
import { type LargeValue, NULL_VALUE, RecordBatch } from "../../records/record-batch.js";
import type { KeyOrder } from "./key-order.js";

/** What is written at once. Bytes. */
const WRITE_BYTES = 262144;
/** Behind a key in its entry: where the record begins (6 bytes) and its length without a LargeValue (4 bytes). */
const PLACE_BYTES = 10;
/** The bits of a field's flag. */
const ASSUMED = 1;

/** A record by its key; `load` reads it from the file, valid until the next is loaded. */
export interface SpooledRecord {
  readonly key: Buffer;
  load(): RecordBatch;
}

/**
 * A record is the lengths of its fields (int32 each), a flag of each, the values; a LargeValue follows in chunks with their
 * lengths before them, and ends with the length 0.
 */
export class RecordSpool {
  private readonly sorter = new EntrySorter();
  private readonly out = new ByteWriter(4096);
  private readonly entry = new ByteWriter(256);
  private spool: Spool | undefined;
  private loaded = Buffer.alloc(0);

  constructor(
    private readonly kind: RecordKind,
    private readonly order: KeyOrder,
  ) {}

  get count(): number {
    return this.sorter.count;
  }

  /** Appends a record that has no LargeValue; when `full`, `settle` has to come before the next. */
  add(batch: RecordBatch, row: number): void {
    const { out } = this;
    const start = (this.spool?.length ?? 0) + out.length;
    const width = this.kind.fields.length;
    for (let field = 0; field < width; field++) out.int32(batch.lengths[row * width + field] as number);
    for (let field = 0; field < width; field++) out.byte(batch.isAssumed(row, field) ? ASSUMED : 0);
    for (let at = row * width; at < (row + 1) * width; at++) {
      const length = batch.lengths[at] as number;
      if (length > 0) out.copy(batch.bytes, batch.starts[at] as number, (batch.starts[at] as number) + length);
    }
    const { entry } = this;
    entry.length = 0;
    this.order.write(batch, row, entry);
    entry.ensure(PLACE_BYTES);
    entry.bytes.writeUIntBE(start, entry.length, 6);
    entry.bytes.writeUInt32BE((this.spool?.length ?? 0) + out.length - start, entry.length + 6);
    entry.length += PLACE_BYTES;
    this.sorter.add(entry.view());
  }

  get full(): boolean {
    return this.out.length >= WRITE_BYTES || this.sorter.full;
  }

  /** Moves what is in memory to the file. E_DISK_FULL, E_IO. */
  async settle(): Promise<void> {
    if (this.out.length > 0) {
      this.spool ??= await Spool.create();
      await this.spool.append(this.out.view());
      this.out.length = 0;
    }
    await this.sorter.settle();
  }

  /** Appends the one record of a batch with a LargeValue. E_DISK_FULL, E_IO. */
  async addLarge(batch: RecordBatch): Promise<void> {
    this.add(batch, 0);
    await this.settle();
    const spool = this.spool as Spool;
    for await (const chunk of (batch.large as LargeValue).chunks()) {
      if (chunk.length === 0) continue;
      await spool.append(lengthBytes(chunk.length));
      await spool.append(chunk);
    }
    await spool.append(lengthBytes(0));
  }

  /** All records in the order of their keys, those with one key in the order in which they came. */
  async *sorted(): AsyncGenerator<SpooledRecord, void, undefined> {
    await this.settle();
    for await (const entry of this.sorter.sorted()) {
      const place = entry.length - PLACE_BYTES;
      const start = entry.readUIntBE(place, 6);
      const length = entry.readUInt32BE(place + 6);
      yield { key: entry.subarray(0, place), load: () => this.load(start, length) };
    }
  }

  /** Idempotent; never throws. */
  async close(): Promise<void> {
    await this.sorter.close();
    await this.spool?.close();
  }

  private load(start: number, length: number): RecordBatch {
    const spool = this.spool as Spool;
    if (length > this.loaded.length) this.loaded = Buffer.allocUnsafeSlow(length * 2);
    const record = this.loaded.subarray(0, length);
    spool.readNow(record, start);
    const width = this.kind.fields.length;
    const lengths = new Int32Array(width);
    const starts = new Uint32Array(width);
    const assumed = new Uint8Array(width);
    let large: LargeValue | undefined;
    for (let field = 0, at = width * 5; field < width; field++) {
      const size = record.readInt32BE(field * 4);
      lengths[field] = size;
      starts[field] = at;
      assumed[field] = (record[width * 4 + field] as number) & ASSUMED;
      if (size > 0) at += size;
      else if (size < NULL_VALUE) large = storedLarge(spool, field, start + length);
    }
    return new RecordBatch(this.kind, 1, record, starts, lengths, large, assumed);
  }
}

function lengthBytes(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(length);
  return bytes;
}

function storedLarge(spool: Spool, field: number, start: number): LargeValue {
  return {
    field,
    async *chunks() {
      const head = Buffer.allocUnsafe(4);
      let chunk = Buffer.alloc(0);
      for (let at = start; ; ) {
        spool.readNow(head, at);
        const length = head.readUInt32LE();
        if (length === 0) return;
        if (length > LARGE_VALUE_BYTES) throw new StorageError("E_IO", "a temporary file is not as it was written");
        if (length > chunk.length) chunk = Buffer.allocUnsafeSlow(length);
        spool.readNow(chunk.subarray(0, length), at + 4);
        at += 4 + length;
        yield chunk.subarray(0, length);
      }
    },
    async discard() {},
  };
}
