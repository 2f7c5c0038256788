/** An input that remembers what was read from it, so that a stream can be read a second time. */
import type { ByteInput } from "./input.js";
import { Spool } from "./spool.js";

/** Up to here what was read is kept in memory; beyond, in a temporary file. */
const MEMORY_BYTES = 1048576;

export class ReplayInput implements ByteInput {
  private parts: Buffer[] | undefined = [];
  private kept = 0;
  private spool: Spool | undefined;

  constructor(private readonly input: ByteInput) {}

  async read(target: Buffer, offset: number): Promise<number> {
    const count = await this.input.read(target, offset);
    if (this.parts === undefined || count === 0) return count;
    this.parts.push(Buffer.from(target.subarray(offset, offset + count)));
    this.kept += count;
    if (this.kept > MEMORY_BYTES) await this.moveToSpool(this.parts);
    return count;
  }

  /** Whether what was read so far begins with `bytes`, after a byte order mark perhaps. */
  beginsWith(bytes: Buffer): boolean {
    const head = Buffer.concat(this.parts ?? []);
    return head.indexOf(bytes) === (head.length > 0 && head[0] === 0xef ? 3 : 0);
  }

  /** Forgets what was read and remembers no more. */
  stop(): void {
    this.parts = undefined;
  }

  /** After the input was read to its end: everything once more. The caller closes the spool. */
  async rewind(): Promise<{ input: ByteInput; spool: Spool }> {
    await this.moveToSpool(this.parts ?? []);
    const spool = this.spool as Spool;
    this.spool = undefined;
    return { input: spool.reader(), spool };
  }

  async close(): Promise<void> {
    this.stop();
    await this.spool?.close();
    this.spool = undefined;
    await this.input.close();
  }

  private async moveToSpool(parts: Buffer[]): Promise<void> {
    this.spool ??= await Spool.create();
    for (const part of parts) await this.spool.append(part);
    parts.length = 0;
    this.kept = 0;
  }
}
