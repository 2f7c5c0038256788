/** Compressing outputs. */
import { constants, createDeflateRaw, createGzip, createZstdCompress, type Gzip, type ZlibReset } from "node:zlib";
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

const MEMBER_BYTES = 1048576;
const MEMBERS_AT_ONCE = 4;
/** As fast as level 1 on these documents, and smaller; from level 4 on it costs twice the time. */
const GZIP_LEVEL = 3;

/** A member is judged by so many pieces of so many bytes. */
const SAMPLES = 3;
const SAMPLE_BYTES = 8192;
/** Looking for repetitions must make the sample smaller than this share of what its letters' frequencies alone do. */
const WORTHWHILE_SHARE = 0.93;

/** Bytes of `sample` when each letter has a code of its own, as Huffman's would be: its entropy. */
function entropyBytes(sample: Buffer): number {
  const counts = new Uint32Array(256);
  for (let i = 0; i < sample.length; i++) counts[sample[i] as number] = (counts[sample[i] as number] as number) + 1;
  let bits = 0;
  for (const count of counts) if (count > 0) bits += count * Math.log2(sample.length / count);
  return bits / 8;
}

/**
 * Compresses one piece of bytes after the other with one zlib state, on the thread pool. A state for each piece, and its
 * output, count as external memory: of 1 GiB V8 would collect all its garbage 130 times, 7 % of the time.
 */
class Compressor {
  private chunks: Buffer[] = [];
  private reject: (error: Error) => void = () => {};

  private readonly stream: Gzip & ZlibReset;

  constructor(stream: Gzip) {
    // Deflate's reset, which Node's types leave out for gzip.
    this.stream = stream as Gzip & ZlibReset;
    stream.on("data", (chunk: Buffer) => this.chunks.push(chunk));
    stream.on("error", (error) => this.reject(error));
  }

  /** A complete stream of its own. */
  compress(bytes: Buffer): Promise<Buffer[]> {
    return new Promise((resolve, reject) => {
      this.reject = reject;
      this.stream.write(bytes);
      this.stream.flush(constants.Z_FINISH, () => {
        const { chunks } = this;
        this.chunks = [];
        this.stream.reset();
        resolve(chunks);
      });
    });
  }

  close(): void {
    this.stream.destroy();
  }
}

/** Compresses members, one at a time. */
class MemberCompressor {
  private readonly sampler = new Compressor(createDeflateRaw({ level: 1, chunkSize: SAMPLES * SAMPLE_BYTES }));
  private readonly byStrategy = new Map<number, Compressor>();

  async compress(bytes: Buffer): Promise<Buffer[]> {
    const strategy = await this.strategyFor(bytes);
    let compressor = this.byStrategy.get(strategy);
    if (compressor === undefined) {
      compressor = new Compressor(createGzip({ level: GZIP_LEVEL, strategy, chunkSize: MEMBER_BYTES }));
      this.byStrategy.set(strategy, compressor);
    }
    return compressor.compress(bytes);
  }

  close(): void {
    this.sampler.close();
    for (const compressor of this.byStrategy.values()) compressor.close();
  }

  /**
   * Base64 of vectors and of compressed contents has no repetitions: there, looking for them takes three times as long and
   * gains nothing (bench/RESULTS.md, "What was tried"). Gives zlib's strategy.
   */
  private async strategyFor(bytes: Buffer): Promise<number> {
    const { Z_DEFAULT_STRATEGY, Z_HUFFMAN_ONLY } = constants;
    if (bytes.length < SAMPLES * SAMPLE_BYTES) return Z_DEFAULT_STRATEGY;
    const step = Math.floor((bytes.length - SAMPLE_BYTES) / (SAMPLES - 1));
    const pieces = Array.from({ length: SAMPLES }, (_, i) => bytes.subarray(i * step, i * step + SAMPLE_BYTES));
    const sample = Buffer.concat(pieces);
    const size = (await this.sampler.compress(sample)).reduce((sum, { length }) => sum + length, 0);
    return size < entropyBytes(sample) * WORTHWHILE_SHARE ? Z_DEFAULT_STRATEGY : Z_HUFFMAN_ONLY;
  }
}

/** A member under way, in the order of the output. */
interface Member {
  readonly compressed: Promise<Buffer[]>;
  /** Both are free again when it is written. */
  readonly memory: Buffer;
  readonly compressor: MemberCompressor;
}

/** Members of 1 MiB, compressed side by side on the thread pool: concatenated, they are one valid .gz (RFC 1952, 2.2). */
class GzipOutput implements ByteOutput {
  private memory: Buffer = Buffer.allocUnsafeSlow(MEMBER_BYTES);
  private length = 0;
  private readonly free: Buffer[] = [];
  private readonly idle: MemberCompressor[] = [];
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
    this.close();
    await this.output.finish();
  }

  async abort(): Promise<void> {
    await Promise.allSettled(this.queue.map(({ compressed }) => compressed));
    this.close();
    await this.output.abort();
  }

  private close(): void {
    for (const { compressor } of this.queue) compressor.close();
    for (const compressor of this.idle) compressor.close();
  }

  private async startMember(): Promise<void> {
    const { memory } = this;
    const compressor = this.idle.pop() ?? new MemberCompressor();
    const compressed = compressor.compress(memory.subarray(0, this.length));
    // Its failure is thrown when its turn comes; until then it must not count as unhandled.
    compressed.catch(() => undefined);
    this.queue.push({ compressed, memory, compressor });
    if (this.queue.length >= MEMBERS_AT_ONCE) await this.writeMember();
    this.memory = this.free.pop() ?? Buffer.allocUnsafeSlow(MEMBER_BYTES);
    this.length = 0;
  }

  private async writeMember(): Promise<void> {
    const [member] = this.queue;
    if (member === undefined) return;
    const chunks = await member.compressed;
    for (const chunk of chunks) await this.output.write(chunk);
    // Freed at once: as garbage, which has outlived a collection, it would wait for 64 MB of its kind. The last is still written to.
    const full = new Set(chunks.map(({ buffer }) => buffer));
    full.delete(chunks.at(-1)?.buffer as ArrayBuffer);
    for (const buffer of full) (buffer as ArrayBuffer).transfer(0);
    this.queue.shift();
    this.free.push(member.memory);
    this.idle.push(member.compressor);
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
