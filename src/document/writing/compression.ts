/** Compressing outputs. */
import { promisify } from "node:util";
import { constants, createZstdCompress, deflateRawSync, gzip } from "node:zlib";
import type { StorageError } from "../../errors.js";
import { type ByteOutput, writeError } from "../files/output.js";

export type Compression = "gzip" | "zstd" | "none";

/** By the name's ending: .gz and .zst. */
export function compressionOfName(path: string): Compression {
  if (/\.gz$/i.test(path)) return "gzip";
  return /\.zst$/i.test(path) ? "zstd" : "none";
}

export function compressed(output: ByteOutput, compression: Compression): ByteOutput {
  if (compression === "gzip") return new GzipOutput(output);
  return compression === "zstd" ? new ZstdOutput(output) : output;
}

const compressMember = promisify(gzip) as (
  bytes: Buffer,
  options: { level: number; strategy: number; chunkSize: number },
) => Promise<Buffer>;

const MEMBER_BYTES = 1048576;
const MEMBERS_AT_ONCE = 4;
/** As fast as level 1 on these documents, and smaller; from level 4 on it costs twice the time. */
const GZIP_LEVEL = 3;

/** A member is judged by so many pieces of so many bytes. */
const SAMPLES = 3;
const SAMPLE_BYTES = 8192;
/** Looking for repetitions must make the sample smaller than this share of what its letters' frequencies alone do. */
const WORTHWHILE_SHARE = 0.93;

/**
 * Base64 of vectors and of compressed contents has no repetitions: there, looking for them takes three times as long and
 * gains nothing (bench/RESULTS.md, "What was tried"). Gives zlib's strategy.
 */
function strategyFor(bytes: Buffer): number {
  const { Z_DEFAULT_STRATEGY, Z_HUFFMAN_ONLY } = constants;
  if (bytes.length < SAMPLES * SAMPLE_BYTES) return Z_DEFAULT_STRATEGY;
  const step = Math.floor((bytes.length - SAMPLE_BYTES) / (SAMPLES - 1));
  const pieces = Array.from({ length: SAMPLES }, (_, i) => bytes.subarray(i * step, i * step + SAMPLE_BYTES));
  const sample = Buffer.concat(pieces);
  const sizeBy = (strategy: number): number => deflateRawSync(sample, { level: 1, strategy }).length;
  const isWorthwhile = sizeBy(Z_DEFAULT_STRATEGY) < sizeBy(Z_HUFFMAN_ONLY) * WORTHWHILE_SHARE;
  return isWorthwhile ? Z_DEFAULT_STRATEGY : Z_HUFFMAN_ONLY;
}

/** A member under way: its compressed bytes, and the memory that is free again when they are there. */
interface Member {
  readonly compressed: Promise<Buffer>;
  readonly memory: Buffer;
}

/** Members of 1 MiB, compressed side by side on the thread pool: concatenated, they are one valid .gz (RFC 1952, 2.2). */
class GzipOutput implements ByteOutput {
  private memory: Buffer = Buffer.allocUnsafeSlow(MEMBER_BYTES);
  private length = 0;
  private readonly free: Buffer[] = [];
  private readonly queue: Member[] = [];

  constructor(private readonly output: ByteOutput) {}

  async write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const count = bytes.copy(this.memory, this.length, at);
      at += count;
      this.length += count;
      if (this.length === MEMBER_BYTES) await this.startMember();
    }
  }

  async finish(): Promise<void> {
    if (this.length > 0) await this.startMember();
    while (this.queue.length > 0) await this.writeMember();
    await this.output.finish();
  }

  async abort(): Promise<void> {
    await Promise.allSettled(this.queue.map(({ compressed }) => compressed));
    await this.output.abort();
  }

  private async startMember(): Promise<void> {
    const { memory } = this;
    const bytes = memory.subarray(0, this.length);
    const strategy = strategyFor(bytes);
    const compressed = compressMember(bytes, { level: GZIP_LEVEL, strategy, chunkSize: MEMBER_BYTES });
    // Its failure is thrown when its turn comes; until then it must not count as unhandled.
    compressed.catch(() => undefined);
    this.queue.push({ compressed, memory });
    if (this.queue.length >= MEMBERS_AT_ONCE) await this.writeMember();
    this.memory = this.free.pop() ?? Buffer.allocUnsafeSlow(MEMBER_BYTES);
    this.length = 0;
  }

  private async writeMember(): Promise<void> {
    const member = this.queue.shift();
    if (member === undefined) return;
    const bytes = await member.compressed;
    await this.output.write(bytes);
    // Freed at once: as garbage, which has outlived a collection, it would wait for 64 MB of its kind.
    if (bytes.length > Buffer.poolSize) (bytes.buffer as ArrayBuffer).transfer(0);
    this.free.push(member.memory);
  }
}

/** One frame: node:zlib itself, and so older readers of ours, read no more than the first frame of a chunk. */
class ZstdOutput implements ByteOutput {
  private readonly stream = createZstdCompress({
    chunkSize: 262144,
    params: { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 },
  });
  private failure: StorageError | undefined;
  /** Rejects the write under way: a stream that is destroyed forgets its callbacks. */
  private onFailure: (error: StorageError) => void = () => {};
  private readonly pump: Promise<void>;

  constructor(private readonly output: ByteOutput) {
    this.stream.on("error", (error) => this.fail(error));
    this.pump = this.run();
  }

  async write(bytes: Buffer): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    await new Promise<void>((done, failed) => {
      this.onFailure = failed;
      this.stream.write(bytes, (error) => {
        if (error) this.fail(error);
        else done();
      });
    });
  }

  async finish(): Promise<void> {
    if (this.failure === undefined) this.stream.end();
    await this.pump;
    if (this.failure !== undefined) throw this.failure;
    await this.output.finish();
  }

  async abort(): Promise<void> {
    this.stream.destroy();
    await this.output.abort();
  }

  /** Hands on what is compressed. Never rejects. */
  private async run(): Promise<void> {
    try {
      for await (const chunk of this.stream) await this.output.write(chunk as Buffer);
    } catch (error) {
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    this.failure ??= writeError(error);
    this.stream.destroy();
    this.onFailure(this.failure);
  }
}
