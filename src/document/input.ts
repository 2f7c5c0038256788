/** Where a document's bytes come from: a file or a stream, compressed or not. */
import type { FileHandle } from "node:fs/promises";
import { open, stat } from "node:fs/promises";
import { pipeline, Readable } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { StorageError } from "../errors.js";
import { splitZstdFrames } from "./zstd-frames.js";

const READ_BYTES = 262144;

/** A reader of bytes, front to back. */
export interface ByteInput {
  /** Reads some bytes into `target` from `offset` on, as many as are at hand; 0 at the end. E_IO, E_DOCUMENT_COMPRESSION, … */
  read(target: Buffer, offset: number): Promise<number>;
  /** Idempotent; never throws. */
  close(): Promise<void>;
}

/** Opens a file (or a FIFO); decompresses it by its first bytes. E_INPUT_NOT_FOUND. */
export async function openFileInput(path: string): Promise<ByteInput> {
  let handle: FileHandle;
  try {
    if ((await stat(path)).isDirectory()) throw new StorageError("E_INPUT_NOT_FOUND", `${path} is a directory`);
    handle = await open(path, "r");
  } catch (error) {
    if (error instanceof StorageError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    const message = code === "ENOENT" ? `${path} does not exist` : `${path} cannot be read`;
    throw new StorageError("E_INPUT_NOT_FOUND", message, {}, error);
  }
  return decompressed(new HandleInput(handle, true));
}

/** Reads a stream; decompresses it by its first bytes. */
export async function openStreamInput(stream: Readable): Promise<ByteInput> {
  return decompressed(new ChunkInput(stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>, "stream"));
}

/** Reads an open file from its current position, without looking for compression. */
export class HandleInput implements ByteInput {
  private position: number | null;

  /** `owned`: closed by close(). Without `position` the file is read from where it stands (a FIFO has no positions). */
  constructor(
    private readonly handle: FileHandle,
    private readonly owned: boolean,
    position?: number,
  ) {
    this.position = position ?? null;
  }

  async read(target: Buffer, offset: number): Promise<number> {
    try {
      const { bytesRead } = await this.handle.read(target, offset, target.length - offset, this.position);
      if (this.position !== null) this.position += bytesRead;
      return bytesRead;
    } catch (error) {
      throw new StorageError("E_IO", "reading the document failed", {}, error);
    }
  }

  async close(): Promise<void> {
    if (this.owned) await this.handle.close().catch(() => undefined);
  }
}

/** Reads chunks from an iterator; `upstream` is closed with it. */
class ChunkInput implements ByteInput {
  private chunk: Uint8Array = new Uint8Array(0);
  private ended = false;

  constructor(
    private readonly chunks: AsyncIterator<Uint8Array>,
    private readonly origin: "stream" | "compression",
    private readonly upstream?: ByteInput,
  ) {}

  async read(target: Buffer, offset: number): Promise<number> {
    while (this.chunk.length === 0) {
      if (this.ended) return 0;
      const next = await this.chunks.next().catch((error: unknown) => {
        throw this.failure(error);
      });
      if (next.done === true) this.ended = true;
      else this.chunk = typeof next.value === "string" ? Buffer.from(next.value, "utf8") : next.value;
    }
    const count = Math.min(this.chunk.length, target.length - offset);
    target.set(this.chunk.subarray(0, count), offset);
    this.chunk = this.chunk.subarray(count);
    return count;
  }

  async close(): Promise<void> {
    this.ended = true;
    this.chunk = new Uint8Array(0);
    await this.chunks.return?.().catch(() => undefined);
    await this.upstream?.close();
  }

  private failure(error: unknown): StorageError {
    if (error instanceof StorageError) return error;
    if (this.origin === "stream") return new StorageError("E_IO", "reading the document failed", {}, error);
    if ((error as NodeJS.ErrnoException).code === "Z_BUF_ERROR")
      return new StorageError("E_DOCUMENT_TRUNCATED", "Failed to parse export JSON", {
        detail: "the compressed document ends too early",
        hint: "The file was cut short; export again, or copy it again.",
      });
    return new StorageError("E_DOCUMENT_COMPRESSION", "the compressed document is damaged", {}, error);
  }
}

/** Gives back what was read to look at it. */
class PeekedInput implements ByteInput {
  constructor(
    private head: Buffer,
    private readonly input: ByteInput,
  ) {}

  async read(target: Buffer, offset: number): Promise<number> {
    if (this.head.length === 0) return this.input.read(target, offset);
    const count = this.head.copy(target, offset);
    this.head = this.head.subarray(count);
    return count;
  }

  close(): Promise<void> {
    return this.input.close();
  }
}

/** gzip and zstd are known by their first bytes. */
export function compressionOf(head: Buffer): "gzip" | "zstd" | undefined {
  if (head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  return head.length >= 4 && (head.readUInt32LE(0) === 0xfd2fb528 || head.readUInt32LE(0) >>> 4 === 0x184d2a5)
    ? "zstd"
    : undefined;
}

async function decompressed(input: ByteInput): Promise<ByteInput> {
  try {
    const head = Buffer.alloc(4);
    let length = 0;
    for (let count = 1; count > 0 && length < 4; length += count) count = await input.read(head, length);
    const peeked = new PeekedInput(head.subarray(0, length), input);
    const compression = compressionOf(head.subarray(0, length));
    if (compression === undefined) return peeked;
    const bytes = chunksOf(peeked);
    const decompressor =
      compression === "gzip"
        ? createGunzip({ chunkSize: READ_BYTES })
        : createZstdDecompress({ chunkSize: READ_BYTES });
    // The error reaches the reader as the decompressor's own.
    pipeline(Readable.from(compression === "gzip" ? bytes : splitZstdFrames(bytes)), decompressor, () => undefined);
    return new ChunkInput(decompressor[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>, "compression", peeked);
  } catch (error) {
    await input.close();
    throw error;
  }
}

async function* chunksOf(input: ByteInput): AsyncGenerator<Buffer, void, undefined> {
  for (;;) {
    const chunk = Buffer.allocUnsafe(READ_BYTES);
    const count = await input.read(chunk, 0);
    if (count === 0) return;
    yield chunk.subarray(0, count);
  }
}
