/** The thread's records as they are, for a target that takes no text: batch by batch, in slots like the printed ones. */
import { copyBytes } from "../codecs/byte-writer.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { FromThread } from "./messages.js";
import { SLOT_BYTES, type Slots } from "./slots.js";

export class BatchSender {
  constructor(
    private readonly slots: Slots,
    private readonly send: (message: FromThread, handedOver?: ArrayBuffer[]) => void,
  ) {}

  async write(batch: RecordBatch): Promise<void> {
    const { kind, rows, width, bytes, starts, lengths, large, assumed } = batch;
    const values = rows * width;
    const total = 8 * values + bytes.length;
    const fits = total <= SLOT_BYTES;
    // One record of megabytes goes in memory of its own.
    const own = fits ? undefined : new ArrayBuffer(total);
    const slot = fits ? await this.slots.take() : undefined;
    const memory = own === undefined ? (this.slots.memory[slot as number] as Buffer) : Buffer.from(own);
    memory.set(bytesOf(starts, values), 0);
    memory.set(bytesOf(lengths, values), 4 * values);
    copyBytes(bytes, memory, 8 * values, 0, bytes.length);
    const content = large === undefined ? undefined : large.field;
    const given = assumed === undefined ? undefined : assumed.slice(0, values);
    const { path } = kind;
    this.send(
      { type: "batch", path, slot, own, rows, bytes: bytes.length, content, assumed: given },
      own === undefined ? [] : [own],
    );
    if (large === undefined) return;
    for await (const chunk of large.chunks())
      for (let at = 0; at < chunk.length; at += SLOT_BYTES) {
        const free = await this.slots.take();
        const count = Math.min(chunk.length - at, SLOT_BYTES);
        copyBytes(chunk, this.slots.memory[free] as Buffer, 0, at, at + count);
        this.send({ type: "content", slot: free, bytes: count });
      }
    this.send({ type: "contentEnd" });
  }

  async endPart(): Promise<void> {}
}

function bytesOf(array: Uint32Array | Int32Array, values: number): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, values * 4);
}
