/**
 * COPY TO STDOUT, and the rows of a FETCH, read off the connection's own chunks: the messages' heads are squeezed out where
 * the bytes lie, so that nothing is copied into new memory, and a value is never a string, which V8 ends at 512 MiB.
 * pg-copy-streams makes a buffer more per chunk, and the collector lags behind them.
 * Messages: https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
import type { Duplex } from "node:stream";
import type { Connection, Submittable } from "pg";
import { OneBufferSocket } from "./one-buffer-socket.js";

const ERROR_RESPONSE = 0x45;
/** The messages that hold the data, and the one that follows them: CopyData and CopyDone, DataRow and CommandComplete. */
const MESSAGES = { copy: { data: 0x64, done: 0x63 }, rows: { data: 0x44, done: 0x43 } } as const;
const HEAD_BYTES = 5;

type DataListener = (chunk: Buffer) => void;

/** The connection's chunks, while they are not pg's. */
interface Tap {
  /** The next chunk, valid until the next call; null where there is none yet: `onChunk` tells. */
  read(): Buffer | null;
  readonly hasChunk: boolean;
  /** pg reads on: `rest` first. */
  close(rest: Buffer): void;
}

export class CopyTo implements Submittable {
  private tap: Tap | undefined;
  private ended = false;
  private failure: { readonly error: unknown } | undefined;
  private wake: () => void = () => {};
  /** Bytes that are left of the message at hand, and whether they are data. */
  private left = 0;
  private isData = false;
  /** A message's head that the chunk before cut. */
  private head = Buffer.alloc(0);

  /** Rows that came, once the statement has ended. */
  rows = 0;
  private readonly messages: { readonly data: number; readonly done: number };

  /** @param form "rows": a FETCH of a binary cursor, whose rows have the form of COPY's */
  constructor(
    private readonly sql: string,
    form: keyof typeof MESSAGES = "copy",
  ) {
    this.messages = MESSAGES[form];
  }

  submit(connection: Connection): void {
    const stream = connection.stream as Duplex;
    const onChunk = (): void => this.wake();
    this.tap = stream instanceof OneBufferSocket ? tapBuffer(stream, onChunk) : tapStream(stream, onChunk);
    connection.query(this.sql);
  }

  /** The data in pieces of any size, each valid until the next is asked for; throws what the server or the connection reports. */
  async *chunks(): AsyncGenerator<Buffer, void, undefined> {
    for (;;) {
      if (this.failure !== undefined) throw this.failure.error;
      const chunk = this.tap?.read() ?? null;
      if (chunk !== null) {
        const length = this.squeeze(chunk);
        if (length > 0) yield chunk.subarray(0, length);
      } else if (this.ended) return;
      else
        await new Promise<void>((resolve) => {
          this.wake = resolve;
          // An event may have come before.
          if (this.failure !== undefined || this.ended || this.tap?.hasChunk === true) resolve();
        });
    }
  }

  /** Moves the data to the chunk's beginning; gives their length. What follows the last of them is pg's. */
  private squeeze(chunk: Buffer): number {
    let length = 0;
    let at = 0;
    while (at < chunk.length) {
      if (this.left > 0) {
        const end = Math.min(chunk.length, at + this.left);
        this.left -= end - at;
        if (this.isData) {
          if (length !== at) chunk.copyWithin(length, at, end);
          length += end - at;
        }
        at = end;
        continue;
      }
      const missing = HEAD_BYTES - this.head.length;
      if (this.head.length > 0 || chunk.length - at < HEAD_BYTES) {
        const end = Math.min(chunk.length, at + missing);
        this.head = Buffer.concat([this.head, chunk.subarray(at, end)]);
        if (this.isLast(this.head[0])) {
          this.giveBack(Buffer.concat([this.head, chunk.subarray(end)]));
          return length;
        }
        at = end;
        if (this.head.length < HEAD_BYTES) return length;
        this.begin(this.head, 0);
        this.head = Buffer.alloc(0);
        continue;
      }
      if (this.isLast(chunk[at])) {
        this.giveBack(Buffer.from(chunk.subarray(at)));
        return length;
      }
      this.begin(chunk, at);
      at += HEAD_BYTES;
    }
    return length;
  }

  private begin(bytes: Buffer, at: number): void {
    this.isData = bytes[at] === this.messages.data;
    this.left = bytes.readUInt32BE(at + 1) - 4;
  }

  /** The data are complete, or will not come; every other message stands between them. */
  private isLast(type: number | undefined): boolean {
    return type === this.messages.done || type === ERROR_RESPONSE;
  }

  /** pg reads on: the end of the statement, or the error. */
  private giveBack(rest: Buffer): void {
    const { tap } = this;
    this.tap = undefined;
    tap?.close(rest);
  }

  // The names of these methods are pg's.
  handleError(error: unknown): void {
    this.failure = { error };
    this.wake();
  }
  handleCommandComplete(message: { text: string }): void {
    this.rows = Number(/\d+$/.exec(message.text)?.[0] ?? 0);
  }
  handleReadyForQuery(): void {
    this.ended = true;
    this.wake();
  }
}

/** Takes the stream's chunks in the place of its one reader, which is pg's. */
function tapStream(stream: Duplex, onChunk: () => void): Tap {
  const listeners = stream.listeners("data") as DataListener[];
  const [listener] = listeners;
  if (listener === undefined || listeners.length !== 1) throw new Error("the connection has another reader");
  stream.removeListener("data", listener);
  stream.pause();
  stream.on("readable", onChunk);
  return {
    read: () => stream.read() as Buffer | null,
    get hasChunk() {
      return stream.readableLength > 0;
    },
    close(rest) {
      stream.removeListener("readable", onChunk);
      stream.on("data", listener);
      listener(rest);
      // The listener that was taken away left the stream paused.
      process.nextTick(() => stream.resume());
    },
  };
}

/** Takes what the socket reads before it is a chunk of its own. */
function tapBuffer(socket: OneBufferSocket, onChunk: () => void): Tap {
  let chunk: Buffer | null = null;
  socket.taker = (bytes) => {
    chunk = bytes;
    onChunk();
  };
  return {
    read() {
      const taken = chunk;
      chunk = null;
      if (taken === null) socket.readMore();
      return taken;
    },
    get hasChunk() {
      return chunk !== null;
    },
    close(rest) {
      socket.taker = undefined;
      // Copied: the socket reads on into the same bytes.
      socket.push(Buffer.from(rest));
      socket.readMore();
    },
  };
}
