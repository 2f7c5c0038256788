/** The thread's records as text, in memory that the coordinator sees: a slot is its when it is full, and comes back when it is written. */
import { ByteWriter, copyBytes } from "../codecs/byte-writer.js";
import { recordPieces, writeRecord } from "../document/writing/record-writer.js";
import type { RecordBatch } from "../records/record-batch.js";
import { ValueBytes } from "../records/value-bytes.js";
import { SLOT_BYTES, type Slots } from "./slots.js";

/** Copied into a slot when so many bytes are there. */
const FLUSH_BYTES = 262144;

/** Records that end in a piece, and bytes of their values. */
export interface PieceCounts {
  readonly records: number;
  readonly valueBytes: number;
}

/** Prints the records of one part after the other. */
export class TextPrinter {
  private readonly out = new ByteWriter(FLUSH_BYTES * 2);
  private slot: number | undefined;
  private filled = 0;
  private records = 0;
  /** Of all parts: a batch's large values are counted as they flow, over many slots. */
  private readonly values = new ValueBytes();
  private toldBytes = 0;
  private isFirst = true;

  constructor(
    private readonly slots: Slots,
    private readonly vectors: "base64" | "json",
    private readonly send: (slot: number, bytes: number, counts: PieceCounts) => void,
  ) {}

  async write(batch: RecordBatch): Promise<void> {
    const { out } = this;
    const counted = this.values.counted(batch);
    const { large } = counted;
    for (let row = 0; row < batch.rows; row++) {
      if (!this.isFirst) out.latin1(",\n");
      this.isFirst = false;
      if (large === undefined) writeRecord(counted, row, out, this.vectors);
      else
        for await (const piece of recordPieces(counted, row)) {
          await this.flush();
          await this.append(piece);
        }
      this.records++;
      if (out.length >= FLUSH_BYTES) await this.flush();
    }
  }

  /** Sends what is left. What is written next is another part's. */
  async endPart(): Promise<void> {
    await this.flush();
    if (this.slot !== undefined) this.sendSlot(this.slot);
    this.isFirst = true;
  }

  private async flush(): Promise<void> {
    const { out } = this;
    if (out.length === 0) return;
    await this.append(out.view());
    out.length = 0;
    // Memory that one long record made grow is given back.
    if (out.bytes.length > FLUSH_BYTES * 4) out.bytes = Buffer.allocUnsafeSlow(FLUSH_BYTES * 2);
  }

  private async append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      this.slot ??= await this.slots.take();
      const count = Math.min(bytes.length - at, SLOT_BYTES - this.filled);
      copyBytes(bytes, this.slots.memory[this.slot] as Buffer, this.filled, at, at + count);
      at += count;
      this.filled += count;
      if (this.filled === SLOT_BYTES) this.sendSlot(this.slot);
    }
  }

  private sendSlot(slot: number): void {
    const { filled, records } = this;
    let counted = 0;
    for (const bytes of this.values.byPath.values()) counted += bytes;
    const valueBytes = counted - this.toldBytes;
    this.toldBytes = counted;
    this.slot = undefined;
    this.filled = 0;
    this.records = 0;
    this.send(slot, filled, { records, valueBytes });
  }
}
