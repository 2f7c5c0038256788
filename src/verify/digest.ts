/**
 * A digest of what a store's records mean, per section: equal for equal records whatever their order and their backend.
 *
 * Algorithm 1. A record's digest is the SHA-256 of: the SHA-256 of `["llmspell-storage record 1",path,field,…]` (compact
 * JSON, the fields that say something, in the catalog's order); then of each of those fields an int32 (big-endian), the
 * length of its meaning (meaning.ts), or -1 for NULL; then the meanings. A field that may be large has the SHA-256 of its
 * bytes for its meaning. A section's digest is the sum of its records' digests as big-endian integers, modulo 2^256; a
 * store's digest is that of all of them.
 */
import { createHash, type Hash, hash } from "node:crypto";
import type { Catalog, Field, RecordKind } from "../catalog/index.js";
import { ByteWriter } from "../codecs/byte-writer.js";
import { LARGE_VALUE, NULL_VALUE, RecordBatch } from "../records/record-batch.js";
import { JsonMeaning } from "./json-meaning.js";
import { isMeant, meansItsBytes } from "./meaning.js";

export interface SectionDigest {
  /** E.g. `artifacts.content`. */
  readonly path: string;
  readonly records: number;
  /** The algorithm's version, a colon, and 64 hexadecimal digits. */
  readonly digest: string;
}

export interface StoreDigests {
  /** In the catalog's order, those that have records. */
  readonly sections: readonly SectionDigest[];
  readonly total: Omit<SectionDigest, "path">;
}

const VERSION = 1;
const DIGEST_BYTES = 32;
const WORDS = DIGEST_BYTES / 4;
/** Memory that one long record made grow beyond this is given back. Bytes. */
const KEPT_BYTES = 4194304;

/** A sum modulo 2^256, in words of 32 bits, the first the highest. */
class Sum {
  records = 0;
  /** Not carried while they stay below 2^53. */
  private readonly words = new Float64Array(WORDS);
  private summands = 0;

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

  addSum(other: Sum): void {
    other.carry();
    this.carry();
    for (let i = 0; i < WORDS; i++) this.words[i] = (this.words[i] as number) + (other.words[i] as number);
    this.records += other.records;
    this.carry();
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

/** A field that says something. */
interface MeantField {
  readonly index: number;
  readonly isLarge: boolean;
  /** undefined: it means its bytes. */
  readonly json: JsonMeaning | undefined;
}

/** Makes the digests of records of one kind. */
class SectionDigester {
  readonly sum = new Sum();
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
    const { bytes, starts, lengths, width } = batch;
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
      if (length !== NULL_VALUE && (isLarge || json !== undefined)) {
        text.copy(bytes, from, to);
        from = to;
        const before = text.length;
        if (json !== undefined) json.write(bytes, start, length, text);
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
    this.sum.add(hash("sha256", text.view(), "binary"));
  }
}

function contentDigest(bytes: Buffer, start: number, length: number, content: Buffer | undefined): Buffer {
  if (length !== LARGE_VALUE) return hash("sha256", bytes.subarray(start, start + length), "buffer");
  if (content === undefined) throw new Error("the digest of a large value is missing");
  return content;
}

/** Takes batch after batch, and has the digests at the end, or of each section when all of it came. */
export class DigestWriter {
  private readonly sections = new Map<string, SectionDigester>();
  private text = new ByteWriter();

  constructor(private readonly catalog: Catalog) {}

  /**
   * Adds the batch's records. Where it has a LargeValue the record counts when `observed` was called for it and the result's
   * content was read to its end.
   */
  add(batch: RecordBatch): void {
    if (batch.large !== undefined) throw new Error("a large value must be observed");
    if (this.text.bytes.length > KEPT_BYTES) this.text = new ByteWriter();
    const section = this.section(batch.kind);
    for (let row = 0; row < batch.rows; row++) section.add(batch, row, undefined, this.text);
  }

  /** The batch of a LargeValue for whoever reads it; its record is added when the content has been read to the end. */
  observed(batch: RecordBatch): RecordBatch {
    const { large } = batch;
    if (large === undefined) throw new Error("the batch has no large value");
    const section = this.section(batch.kind);
    const add = (content: Hash): void => section.add(batch, 0, content.digest(), this.text);
    const observed = {
      field: large.field,
      async *chunks() {
        const content = createHash("sha256");
        for await (const chunk of large.chunks()) {
          content.update(chunk);
          yield chunk;
        }
        add(content);
      },
      discard: () => large.discard(),
    };
    return new RecordBatch(batch.kind, 1, batch.bytes, batch.starts, batch.lengths, observed, batch.assumed);
  }

  /** Of the records that came so far; undefined where none did. */
  of(path: string): Omit<SectionDigest, "path"> | undefined {
    const sum = this.sections.get(path)?.sum;
    return sum === undefined ? undefined : { records: sum.records, digest: sum.text() };
  }

  digests(): StoreDigests {
    const total = new Sum();
    const sections: SectionDigest[] = [];
    for (const { path } of this.catalog.kinds) {
      const sum = this.sections.get(path)?.sum;
      if (sum === undefined || sum.records === 0) continue;
      total.addSum(sum);
      sections.push({ path, records: sum.records, digest: sum.text() });
    }
    return { sections, total: { records: total.records, digest: total.text() } };
  }

  private section(kind: RecordKind): SectionDigester {
    let section = this.sections.get(kind.path);
    if (section === undefined) {
      section = new SectionDigester(kind);
      this.sections.set(kind.path, section);
    }
    return section;
  }
}
