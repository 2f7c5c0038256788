/**
 * A socket that reads into one buffer again and again. Node makes a new one of 64 KiB for each read, and V8 collects them when
 * they are some 32 MB: that much more memory in each thread that reads a database, and none of it in the processor's caches.
 */
import { Socket } from "node:net";

const READ_BYTES = 65536;

export class OneBufferSocket extends Socket {
  /** Takes what is read, instead of the stream: the bytes are valid until `readMore`, before which no more are read. */
  taker: ((bytes: Buffer) => void) | undefined;

  constructor() {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    super({
      onread: {
        buffer,
        callback: (count) => {
          const { taker } = this;
          if (taker === undefined) return this.push(Buffer.from(buffer.subarray(0, count)));
          taker(buffer.subarray(0, count));
          return false;
        },
      },
    });
  }

  readMore(): void {
    this.read(0);
  }
}
