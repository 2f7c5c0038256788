/** COPY FROM STDIN of data that is at hand: one write and one answer, where pg-copy-streams waits for the server between. */
import type { Writable } from "node:stream";
import type { Connection, Submittable } from "pg";

const COPY_DATA = 0x64;
const COPY_DONE = Buffer.from([0x63, 0, 0, 0, 4]);
/** A message is held whole by the server, so a large value is sent in pieces. */
const MESSAGE_BYTES = 1048576;

/**
 * Sends the statement and all of its data at once. A server that refuses the statement ignores what follows it (protocol,
 * "COPY operations"); the embedded PostgreSQL takes it in this way only.
 */
export class CopyFrom implements Submittable {
  readonly rows: Promise<number>;
  private resolve: (rows: number) => void = () => {};
  private reject: (error: unknown) => void = () => {};
  private count = 0;

  constructor(
    private readonly sql: string,
    private readonly data: Buffer,
  ) {
    this.rows = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  submit(connection: Connection): void {
    const stream = connection.stream as Writable;
    stream.cork();
    connection.query(this.sql);
    for (let at = 0; at < this.data.length; at += MESSAGE_BYTES) {
      const piece = this.data.subarray(at, at + MESSAGE_BYTES);
      const head = Buffer.allocUnsafe(5);
      head[0] = COPY_DATA;
      head.writeInt32BE(piece.length + 4, 1);
      stream.write(head);
      stream.write(piece);
    }
    stream.write(COPY_DONE);
    stream.uncork();
  }

  // The names of these methods are pg's.
  handleCopyInResponse(): void {}
  handleCommandComplete({ text }: { text: string }): void {
    this.count = Number(/^COPY (\d+)/.exec(text)?.[1] ?? 0);
  }
  handleReadyForQuery(): void {
    this.resolve(this.count);
  }
  handleError(error: unknown): void {
    this.reject(error);
  }
}
