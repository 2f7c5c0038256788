/** An input that remembers what was read from it, so that a stream can be read again. */

import { Spool } from "../files/spool.js";
import type { ByteInput } from "./input.js";

/** Up to here what was read is kept in memory; beyond, in a temporary file. */
const MEMORY_BYTES = 1048576;

export class ReplayInput implements ByteInput {
  private remembers = true;
  /** What was remembered: all of it, until it is too much; then the rest of it goes to the spool as well. */
  private parts: Buffer[] = [];
  private kept = 0;
  private spool: Spool | undefined;
  /** What was remembered, being read again. */
  private again: ByteInput | undefined;

  /** `canReopen`: it is never rewound, and what was read is remembered for beginsWith only. */
  constructor(
    private readonly input: ByteInput,
    private readonly canReopen = false,
  ) {}

  async read(target: Buffer, offset: number): Promise<number> {
    if (this.again !== undefined) {
      const count = await this.again.read(target, offset);
      if (count > 0) return count;
      this.again = undefined;
      if (!this.remembers) await this.forget();
    }
    const count = await this.input.read(target, offset);
    if (!this.remembers || count === 0 || (this.canReopen && this.kept > MEMORY_BYTES)) return count;
    this.parts.push(Buffer.from(target.subarray(offset, offset + count)));
    this.kept += count;
    if (!this.canReopen && (this.spool !== undefined || this.kept > MEMORY_BYTES)) await this.moveToSpool();
    return count;
  }

  /** Whether what was read so far begins with `bytes`, after a byte order mark perhaps. */
  beginsWith(bytes: Buffer): boolean {
    const head = Buffer.concat(this.parts);
    return head.indexOf(bytes) === (head.length > 0 && head[0] === 0xef ? 3 : 0);
  }

  /** Remembers no more from now on: it will not be rewound again. */
  async stop(): Promise<void> {
    this.remembers = false;
    if (this.again === undefined) await this.forget();
  }

  /** From the beginning: what was remembered, and then what has not been read yet. E_DISK_FULL, E_IO. */
  async rewind(): Promise<void> {
    if (!this.remembers || this.canReopen) throw new Error("what was read is forgotten");
    await this.moveToSpool();
    this.again = this.spool?.reader();
  }

  async close(): Promise<void> {
    this.remembers = false;
    await this.forget();
    await this.input.close();
  }

  private async forget(): Promise<void> {
    this.parts = [];
    await this.spool?.close();
    this.spool = undefined;
    this.again = undefined;
  }

  private async moveToSpool(): Promise<void> {
    this.spool ??= await Spool.create();
    for (const part of this.parts) await this.spool.append(part);
    this.parts = [];
    this.kept = 0;
  }
}
