/** Batches as they come from a thread (batch-sender.ts). */
import type { RecordKind } from "../catalog/index.js";
import { type LargeValue, RecordBatch } from "../records/record-batch.js";
import type { FromThread } from "./messages.js";
import type { ThreadHandle } from "./thread-handle.js";

/** The batch, in `memory` of a slot's size, which serves for the next one, too. Gives the slot back. */
export function receiveBatch(
  kind: RecordKind,
  message: FromThread & { readonly type: "batch" },
  thread: ThreadHandle,
  large: LargeValue | undefined,
  memory: ArrayBuffer,
): RecordBatch {
  const { slot, own, rows, bytes, assumed } = message;
  const values = rows * kind.fields.length;
  const from = own ?? memory;
  if (slot !== undefined) {
    Buffer.from(from).set(thread.bytesOf({ slot, bytes: 8 * values + bytes }));
    thread.giveBack(slot);
  }
  const starts = new Uint32Array(from, 0, values);
  const lengths = new Int32Array(from, 4 * values, values);
  return new RecordBatch(kind, rows, Buffer.from(from, 8 * values, bytes), starts, lengths, large, assumed);
}

/** Content that follows its batch. */
export class SentContent implements LargeValue {
  private isTaken = false;

  constructor(
    readonly field: number,
    private readonly thread: ThreadHandle,
  ) {}

  async *chunks(): AsyncGenerator<Buffer> {
    const { thread } = this;
    while (!this.isTaken) {
      const message = await thread.next();
      if (message.type === "contentEnd") this.isTaken = true;
      else if (message.type !== "content") throw new Error(`a thread said ${message.type} in the middle of a content`);
      else {
        try {
          yield thread.bytesOf(message);
        } finally {
          thread.giveBack(message.slot);
        }
      }
    }
  }

  /** What was not read. */
  async discard(): Promise<void> {
    for await (const _ of this.chunks());
  }
}
