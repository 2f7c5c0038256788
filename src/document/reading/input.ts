/** Where a document's bytes come from: a file or a stream, compressed or not. */
import type { FileHandle } from "node:fs/promises";
import { open, stat } from "node:fs/promises";
import { pipeline, Readable } from "node:stream";
import { constants, createGunzip, createZstdDecompress } from "node:zlib";
import { StorageError } from "../../errors.js";
import { HEAD_BYTES, refuseForeignForm } from "./foreign-forms.js";
import { splitZstdFrames } from "./zstd-frames.js";

const READ_BYTES = 262144;
/** What `zstd --ultra --long=31` makes, and the most that zstd reads: frames that look back up to 2 GiB. log2 of bytes. */
const ZSTD_WINDOW_LOG = 31;

/** A reader of bytes, front to back. */
export interface ByteInput {
  /** Reads some bytes into `target` from `offset` on, as many as are at hand; 0 at the end. E_IO, E_DOCUMENT_COMPRESSION, … */
  read(target: Buffer, offset: number): Promise<number>;
  /** Idempotent; never throws. */
  close(): Promise<void>;
}

/**
 * Opens a file (or a FIFO); decompresses it by its first bytes. `onBytes` is told of those that it has. E_INPUT_NOT_FOUND;
 * E_DOCUMENT_PARSE for what is no text.
 */
export async function openFileInput(path: string, onBytes?: (bytes: Buffer) => void): Promise<ByteInput> {
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
  const input = new HandleInput(handle, true);
  return decompressed(onBytes === undefined ? input : watched(input, onBytes), path);
}

/** Reads a stream; decompresses it by its first bytes. E_DOCUMENT_PARSE for what is no text. */
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

function watched(input: ByteInput, onBytes: (bytes: Buffer) => void): ByteInput {
  return {
    async read(target, offset) {
      const count = await input.read(target, offset);
      onBytes(target.subarray(offset, offset + count));
      return count;
    },
    close: () => input.close(),
  };
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
    const hint = hintOnDamage(error instanceof Error ? error.message : "");
    return new StorageError("E_DOCUMENT_COMPRESSION", "the compressed document is damaged", { hint }, error);
  }
}

/** Some of what zlib and zstd call damage is none. */
function hintOnDamage(message: string): string {
  if (/too much memory/i.test(message))
    return "The frame looks back more than 2 GiB (zstd --long=31), which zstd itself does not read: compress it again.";
  if (/dictionary/i.test(message))
    return "It was compressed with a dictionary: `zstd -dc -D DICTIONARY FILE | llmspell storage import --input -`.";
  if (/not enough memory|allocation/i.test(message))
    return "The frame looks far back (zstd --long): unpacking takes up to 2 GiB of memory.";
  return "`gzip -t FILE` or `zstd -t FILE` tests it; copy it again, or export again.";
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

async function decompressed(input: ByteInput, path?: string): Promise<ByteInput> {
  let last = input;
  try {
    const { head, whole } = await peek(input);
    last = whole;
    const compression = compressionOf(head);
    if (compression === undefined) {
      refuseForeignForm(head, path);
      return whole;
    }
    const bytes = chunksOf(whole);
    const decompressor =
      compression === "gzip"
        ? createGunzip({ chunkSize: READ_BYTES })
        : createZstdDecompress({
            chunkSize: READ_BYTES,
            params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG },
          });
    // The error reaches the reader as the decompressor's own.
    pipeline(Readable.from(compression === "gzip" ? bytes : splitZstdFrames(bytes)), decompressor, () => undefined);
    last = new ChunkInput(decompressor[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>, "compression", whole);
    return new UnpackedInput(last, (head) => refuseForeignForm(head, path, compression));
  } catch (error) {
    await last.close();
    throw error;
  }
}

/** Looks at the first bytes when they are asked for. */
class UnpackedInput implements ByteInput {
  private whole: ByteInput | undefined;

  constructor(
    private readonly input: ByteInput,
    private readonly check: (head: Buffer) => void,
  ) {}

  async read(target: Buffer, offset: number): Promise<number> {
    if (this.whole === undefined) {
      const { head, whole } = await peek(this.input);
      this.check(head);
      this.whole = whole;
    }
    return this.whole.read(target, offset);
  }

  close(): Promise<void> {
    return this.input.close();
  }
}

/** The first bytes, and the input with them. */
async function peek(input: ByteInput): Promise<{ head: Buffer; whole: ByteInput }> {
  const buffer = Buffer.alloc(HEAD_BYTES);
  let length = 0;
  for (let count = 1; count > 0 && length < buffer.length; length += count) count = await input.read(buffer, length);
  const head = buffer.subarray(0, length);
  return { head, whole: new PeekedInput(head, input) };
}

async function* chunksOf(input: ByteInput): AsyncGenerator<Buffer, void, undefined> {
  for (;;) {
    const chunk = Buffer.allocUnsafe(READ_BYTES);
    const count = await input.read(chunk, 0);
    if (count === 0) return;
    yield chunk.subarray(0, count);
  }
}
