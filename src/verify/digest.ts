/** Digests of what a store's records mean, per section and of all: see record-digest.ts. */
import { createHash } from "node:crypto";
import type { Catalog, RecordKind } from "../catalog/index.js";
import { ByteWriter } from "../codecs/byte-writer.js";
import type { RecordBatch } from "../records/record-batch.js";
import { DigestThread } from "./digest-thread.js";
import { DigestSum, RecordDigester, VERSION } from "./record-digest.js";

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

/** Memory that one long record made grow beyond this is given back. Bytes. */
const KEPT_BYTES = 4194304;
/** From so many bytes on a thread of its own is worth its start. */
const THREAD_BYTES = 8388608;

/** The digests that the sections' sums are. */
export function digestsOf(catalog: Catalog, sums: ReadonlyMap<string, DigestSum>): StoreDigests {
  const total = new DigestSum();
  const sections: SectionDigest[] = [];
  for (const { path } of catalog.kinds) {
    const sum = sums.get(path);
    if (sum === undefined || sum.records === 0) continue;
    total.addSum(sum);
    sections.push({ path, records: sum.records, digest: sum.text() });
  }
  return { sections, total: { records: total.records, digest: total.text() } };
}

/** Takes batch after batch; small stores are digested here, the bulk of others in a thread beside. */
export class DigestWriter {
  /** Of the algorithm. */
  readonly version = VERSION;
  private readonly sections = new Map<string, RecordDigester>();
  private text = new ByteWriter();
  private bytes = 0;
  private thread: DigestThread | undefined;

  /** `mayThread`: a thread may be started, which `close` ends. */
  constructor(
    private readonly catalog: Catalog,
    private readonly mayThread = true,
  ) {}

  /** Adds the records of a batch without a LargeValue. The batch may change when this has returned. */
  add(batch: RecordBatch): Promise<void> | undefined {
    if (batch.large !== undefined) throw new Error("a large value must be observed");
    this.count(batch.bytes.length);
    if (this.thread?.takes(batch) === true) return this.thread.add(batch);
    if (this.text.bytes.length > KEPT_BYTES) this.text = new ByteWriter();
    const section = this.section(batch.kind);
    for (let row = 0; row < batch.rows; row++) section.add(batch, row, undefined, this.text);
    return undefined;
  }

  /** A batch with a LargeValue for whoever reads it; its record is added when the content has been read to its end. */
  observed(batch: RecordBatch): RecordBatch {
    const { large } = batch;
    if (large === undefined) throw new Error("the batch has no large value");
    const section = this.section(batch.kind);
    const { text } = this;
    const count = (bytes: number): void => this.count(bytes);
    const thread = this.thread?.takes(batch) === true ? this.thread : undefined;
    const observed = {
      field: large.field,
      async *chunks() {
        const content = createHash("sha256");
        await thread?.beginContent();
        for await (const chunk of large.chunks()) {
          count(chunk.length);
          if (thread === undefined) content.update(chunk);
          else await thread.addContent(chunk);
          yield chunk;
        }
        if (thread === undefined) section.add(batch, 0, content.digest(), text);
        else await thread.add(batch);
      },
      discard: () => large.discard(),
    };
    return batch.withLarge(observed);
  }

  private count(bytes: number): void {
    const isMany = this.bytes >= THREAD_BYTES;
    this.bytes += bytes;
    if (this.mayThread && !isMany && this.bytes >= THREAD_BYTES) this.thread = DigestThread.start();
  }

  /** Waits until all that was added is in the digests. */
  async settle(): Promise<void> {
    for (const [path, state] of (await this.thread?.sums()) ?? []) {
      const kind = this.catalog.byPath.get(path);
      if (kind !== undefined) this.section(kind).sum.addSum(new DigestSum(state));
    }
  }

  /** Of a section's records, after settle(); undefined where none came. */
  of(path: string): Omit<SectionDigest, "path"> | undefined {
    const sum = this.sections.get(path)?.sum;
    return sum === undefined ? undefined : { records: sum.records, digest: sum.text() };
  }

  /** After settle(). */
  digests(): StoreDigests {
    return digestsOf(this.catalog, new Map([...this.sections].map(([path, { sum }]) => [path, sum])));
  }

  /** Ends the thread. Repeatable. */
  async close(): Promise<void> {
    await this.thread?.close();
  }

  private section(kind: RecordKind): RecordDigester {
    let section = this.sections.get(kind.path);
    if (section === undefined) {
      section = new RecordDigester(kind);
      this.sections.set(kind.path, section);
    }
    return section;
  }
}
