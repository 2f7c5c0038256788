/**
 * Cuts the records of a run into parts: consecutive records of one kind, known by a digest of what they bring. Where one ends
 * depends on the records around, not on how many came before: records that the source has got or lost since change the parts
 * that they are in, and those behind are the same again. So a run that is resumed knows what it has by the digests alone,
 * in whatever order the source gives its records, and whatever the steps before have made of their keys.
 */
import { createHash, type Hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { fieldIndex, type RecordKind, storedFields } from "../../../../catalog/index.js";
import { located } from "../../../../codecs/index.js";
import { recordChunks } from "../../../../document/writing/record-writer.js";
import { StorageError } from "../../../../errors.js";
import type { RecordBatch } from "../../../../records/record-batch.js";
import { recordKey } from "../../../../records/record-key.js";
import type { RunContext } from "../../../../records/run-context.js";
import { CopyEncoder, needsLargeObject, type TupleExtras } from "../../session/copy-encoder.js";

/** Records that are ready to be loaded. */
export interface Part {
  readonly kind: RecordKind;
  /** Of the run's parts of this kind, from 0. */
  readonly place: number;
  readonly records: number;
  /** Of values, those of large objects among them. */
  readonly bytes: number;
  /** SHA-256, hexadecimal. */
  readonly digest: string;
  readonly encoder: CopyEncoder;
}

/** Makes a large object of a content, all of whose chunks it takes, and gives its oid. */
export type StoreLarge = (chunks: AsyncIterable<Buffer>) => Promise<number>;

const WAY_ON =
  "Mend it in the source and resume the run, or undo it; one job leaves such records out with --on-error skip.";

const NO_EXTRAS: TupleExtras = {};

/** A part ends by the records between this many bytes and four times as many. */
const MOST = 4;
/** Of 2^32. */
const HASHES = 2 ** 32;

export class PartCutter {
  private kind: RecordKind | undefined;
  private encoder: CopyEncoder | undefined;
  private hash: Hash = createHash("sha256");
  /** Tuples whose bytes the hash has. */
  private hashed = 0;
  private largeBytes = 0;
  private bytes = 0;
  private readonly places = new Map<string, number>();
  private readonly spare: CopyEncoder[] = [];

  /** @param partBytes the least bytes of a part that is not its kind's last */
  constructor(
    private readonly partBytes: number,
    private readonly context: RunContext,
  ) {}

  /** Which of its kind's parts the next record goes to. */
  placeOf(kind: RecordKind): number {
    return this.places.get(kind.path) ?? 0;
  }

  /** Whether records of another kind wait for their part's end. */
  isOfOther(kind: RecordKind): boolean {
    return this.kind !== undefined && this.kind !== kind;
  }

  /**
   * Adds a record; true where the part ends with it. `isStaged`: it will wait to be merged. One that the target cannot hold is
   * rejected, which ends the run. At once but for large objects and rejects: a promise for each record costs as much as the record.
   */
  add(batch: RecordBatch, row: number, storeLarge: StoreLarge, isStaged = false): boolean | Promise<boolean> {
    const { kind } = batch;
    const staged: TupleExtras = isStaged ? { assumed: assumedBits(batch, row) } : NO_EXTRAS;
    const encoder = this.encoderOf(kind);
    const at = encoder.length;
    try {
      if (needsLargeObject(kind, batch, row)) {
        // What the number of the object is, is no part of what the record brings.
        encoder.push(batch, row, { ...staged, largeObject: 0 });
        return this.addLarge(batch, row, { staged, storeLarge });
      }
      encoder.push(batch, row, staged);
    } catch (error) {
      return this.reject(error, batch, row);
    }
    const length = encoder.bytesFrom(at);
    this.bytes += length;
    const total = this.bytes + this.largeBytes;
    if (total < this.partBytes) return false;
    if (total >= this.partBytes * MOST) return true;
    return crc32(encoder.tuples(at, at + 1)) * this.partBytes < length * HASHES;
  }

  /** A record whose tuple is there without its large object. */
  private async addLarge(
    batch: RecordBatch,
    row: number,
    { staged, storeLarge }: { staged: TupleExtras; storeLarge: StoreLarge },
  ): Promise<boolean> {
    const encoder = this.encoderOf(batch.kind);
    const at = encoder.length - 1;
    this.hash.update(encoder.tuples(this.hashed, at + 1));
    encoder.pop();
    const largeObject = await storeLarge(this.observed(contentOf(batch, row)));
    this.hash.update(`${this.largeBytes}`);
    encoder.push(batch, row, { ...staged, largeObject });
    this.hashed = at + 1;
    this.bytes += encoder.bytesFrom(at);
    return this.bytes + this.largeBytes >= this.partBytes;
  }

  private async reject(error: unknown, batch: RecordBatch, row: number): Promise<never> {
    if (!(error instanceof StorageError)) throw error;
    const where = { section: batch.kind.path, key: recordKey(batch, row), hint: WAY_ON };
    const rejected = located(error, where) as StorageError;
    await this.context.reject({ kind: batch.kind, error: rejected, record: recordChunks(batch, row) });
    throw rejected;
  }

  /** What was added since the last part; undefined where nothing was. */
  take(): Part | undefined {
    const { kind, encoder } = this;
    if (kind === undefined || encoder === undefined || encoder.length === 0) return undefined;
    const place = this.placeOf(kind);
    this.places.set(kind.path, place + 1);
    this.hash.update(encoder.tuples(this.hashed, encoder.length));
    const part: Part = {
      kind,
      place,
      records: encoder.length,
      bytes: this.bytes + this.largeBytes,
      digest: this.hash.digest("hex"),
      encoder,
    };
    this.kind = undefined;
    this.encoder = undefined;
    this.hash = createHash("sha256");
    this.hashed = 0;
    this.bytes = 0;
    this.largeBytes = 0;
    return part;
  }

  /** The part is of no more use: its memory serves again. */
  recycle({ encoder }: Part): void {
    this.spare.push(encoder);
  }

  private encoderOf(kind: RecordKind): CopyEncoder {
    if (this.encoder !== undefined) return this.encoder;
    this.kind = kind;
    const spare = this.spare.pop();
    if (spare?.kind === kind) spare.reset();
    this.encoder = spare?.kind === kind ? spare : (spare?.turnedTo(kind) ?? new CopyEncoder(kind));
    return this.encoder;
  }

  private async *observed(chunks: AsyncIterable<Buffer> | Iterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      this.hash.update(chunk);
      this.largeBytes += chunk.length;
      yield chunk;
    }
  }
}

/** The columns (as storedFields has them, from bit 0) that the record does not hold. */
function assumedBits(batch: RecordBatch, row: number): bigint {
  let bits = 0n;
  if (batch.assumed === undefined) return bits;
  for (const [at, field] of storedFields(batch.kind, "postgresql").entries())
    if (batch.isAssumed(row, batch.kind.fields.indexOf(field))) bits |= 1n << BigInt(at);
  return bits;
}

function contentOf(batch: RecordBatch, row: number): AsyncIterable<Buffer> | Iterable<Buffer> {
  const field = fieldIndex(batch.kind, batch.kind.postgres.largeObject?.field ?? "");
  return batch.large?.field === field ? batch.large.chunks() : [batch.value(row, field)];
}

/** Takes all of a content, and makes nothing of it. */
export const drain: StoreLarge = async (chunks) => {
  for await (const _chunk of chunks);
  return 0;
};
