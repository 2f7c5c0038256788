/**
 * Digests of what records mean, and their sums: equal for equal records whatever their order and their backend.
 *
 * Algorithm 1. A record's digest is the SHA-256 of: the SHA-256 of `["llmspell-storage record 1",path,field,…]` (compact
 * JSON, the fields that say something, in the catalog's order); then of each of those fields an int32 (big-endian), the
 * length of its meaning (meaning.ts), or -1 for NULL; then the meanings. A field that may be large has the SHA-256 of its
 * bytes for its meaning. A section's digest is the sum of its records' digests as big-endian integers, modulo 2^256; a
 * store's digest is that of all of them.
 */
import { hash } from "node:crypto";
import type { Field, RecordKind } from "../catalog/index.js";
import type { ByteWriter } from "../codecs/byte-writer.js";
import { LARGE_VALUE, NULL_VALUE, type RecordBatch } from "../records/record-batch.js";
import { JsonMeaning } from "./json-meaning.js";
import { isMeant, meansItsBytes, printedMeansItsBytes } from "./meaning.js";

export const VERSION = 1;
const DIGEST_BYTES = 32;
const WORDS = DIGEST_BYTES / 4;
/** Of lengths below this a view is kept. Bytes. */
const VIEWS = 4096;

export interface SumState {
  readonly records: number;
  readonly words: Float64Array<ArrayBuffer>;
}

/** A sum modulo 2^256, in words of 32 bits, the first the highest. */
export class DigestSum {
  records: number;
  /** Not carried while they stay below 2^53. */
  private readonly words: Float64Array<ArrayBuffer>;
  private summands = 0;

  /** `state`: of another sum. */
  constructor(state: SumState = { records: 0, words: new Float64Array(WORDS) }) {
    this.records = state.records;
    this.words = state.words;
  }

  /** For another thread. */
  state(): SumState {
    this.carry();
    return { records: this.records, words: this.words };
  }

  /** A SHA-256, a character per byte. */
  add(digest: string): void {
    const { words } = this;
    for (let i = 0; i < WORDS; i++)
      words[i] =
        (words[i] as number) +
        (((digest.charCodeAt(4 * i) << 24) |
          (digest.charCodeAt(4 * i + 1) << 16) |
          (digest.charCodeAt(4 * i + 2) << 8) |
          digest.charCodeAt(4 * i + 3)) >>>
          0);
    this.records++;
    if (++this.summands === 1048576) this.carry();
  }

  addSum(other: DigestSum): void {
    other.carry();
    this.carry();
    for (let i = 0; i < WORDS; i++) this.words[i] = (this.words[i] as number) + (other.words[i] as number);
    this.records += other.records;
    this.carry();
  }

  /** The sum of so many records' digests that `text` gave; undefined for a text that it does not give. */
  static of(text: string, records: number): DigestSum | undefined {
    const [, digits] = new RegExp(`^${VERSION}:([0-9a-f]{${2 * DIGEST_BYTES}})$`).exec(text) ?? [];
    if (digits === undefined) return undefined;
    const words = Float64Array.from({ length: WORDS }, (_, at) =>
      Number.parseInt(digits.slice(8 * at, 8 * at + 8), 16),
    );
    return new DigestSum({ records, words });
  }

  text(): string {
    this.carry();
    return `${VERSION}:${Array.from(this.words, (word) => word.toString(16).padStart(8, "0")).join("")}`;
  }

  private carry(): void {
    let carried = 0;
    for (let i = WORDS - 1; i >= 0; i--) {
      const word = (this.words[i] as number) + carried;
      carried = Math.floor(word / 2 ** 32);
      this.words[i] = word - carried * 2 ** 32;
    }
    this.summands = 0;
  }
}

/** What stands at the beginning of one buffer. A view costs a third of a short record's hash, so those of few bytes are kept. */
class Beginnings {
  private buffer: Buffer | undefined;
  private views: Buffer[] = [];

  of({ bytes, length }: ByteWriter): Buffer {
    if (length >= VIEWS) return bytes.subarray(0, length);
    if (bytes !== this.buffer) {
      this.buffer = bytes;
      this.views = [];
    }
    let view = this.views[length];
    if (view === undefined) {
      view = bytes.subarray(0, length);
      this.views[length] = view;
    }
    return view;
  }
}

const beginnings = new Beginnings();

/** A field that says something. */
interface MeantField {
  readonly index: number;
  readonly isLarge: boolean;
  /** undefined: it means its bytes. */
  readonly json: JsonMeaning | undefined;
}

/** Makes the digests of records of one kind, and adds them up. */
export class RecordDigester {
  readonly sum = new DigestSum();
  private readonly head: Buffer;
  private readonly fields: readonly MeantField[];

  constructor(kind: RecordKind) {
    const meant = kind.fields.flatMap((field: Field, index) => (isMeant(kind, index) ? [{ field, index }] : []));
    const names = meant.map(({ field }) => field.name);
    this.head = hash("sha256", JSON.stringify([`llmspell-storage record ${VERSION}`, kind.path, ...names]), "buffer");
    this.fields = meant.map(({ field, index }) => ({
      index,
      isLarge: field.large === true,
      json: meansItsBytes(field) ? undefined : new JsonMeaning(),
    }));
  }

  /** Adds a row; `content` is the SHA-256 of the batch's LargeValue. `text`: memory to work in. */
  add(batch: RecordBatch, row: number, content: Buffer | undefined, text: ByteWriter): void {
    const { bytes, starts, lengths, width, printedByJsonb } = batch;
    const { fields } = this;
    text.length = 0;
    text.copy(this.head, 0, DIGEST_BYTES);
    let lengthAt = text.length;
    text.length += 4 * fields.length;
    text.ensure(0);
    // Values mostly stand one behind the other: they are copied together.
    let from = 0;
    let to = 0;
    for (const { index, isLarge, json } of fields) {
      const at = row * width + index;
      const length = lengths[at] as number;
      const start = starts[at] as number;
      let meant = length;
      const isMade = json !== undefined && !(printedByJsonb === true && printedMeansItsBytes(bytes, start, length));
      if (length !== NULL_VALUE && (isLarge || isMade)) {
        text.copy(bytes, from, to);
        from = to;
        const before = text.length;
        if (isMade) json.write(bytes, start, length, text);
        else text.copy(contentDigest(bytes, start, length, content), 0, DIGEST_BYTES);
        meant = text.length - before;
      } else if (length > 0) {
        if (start !== to) {
          text.copy(bytes, from, to);
          from = start;
        }
        to = start + length;
      }
      const target = text.bytes;
      target[lengthAt++] = meant >> 24;
      target[lengthAt++] = meant >> 16;
      target[lengthAt++] = meant >> 8;
      target[lengthAt++] = meant;
    }
    text.copy(bytes, from, to);
    // As a string it costs a third of what a buffer does.
    this.sum.add(hash("sha256", beginnings.of(text), "binary"));
  }
}

function contentDigest(bytes: Buffer, start: number, length: number, content: Buffer | undefined): Buffer {
  if (length !== LARGE_VALUE) return hash("sha256", bytes.subarray(start, start + length), "buffer");
  if (content === undefined) throw new Error("the digest of a large value is missing");
  return content;
}
