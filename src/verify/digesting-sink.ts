/** Digests of a transfer: of the records as they come to the target, behind transforms and whatever else changes them. */
import type { Catalog } from "../catalog/index.js";
import type { Sink, SinkReport } from "../sinks/sink.js";
import { DigestWriter, type SectionDigest, type StoreDigests } from "./digest.js";

/** Equal to those of `storage digest` of the target where that was empty before. */
export interface TransferDigests {
  /** In the catalog's order, those that have records. Undefined: the target did not take all of them as they came. */
  readonly sections: readonly (Omit<SectionDigest, "digest"> & Partial<Pick<SectionDigest, "digest">>)[];
  /** Undefined where that of a section is. */
  readonly total: Omit<SectionDigest, "path"> | undefined;
}

export class TransferDigester {
  private readonly digests: DigestWriter;
  private readonly come = new Map<string, number>();

  /** `mayThread`: many records may be digested by a thread beside, which ends with the process. */
  constructor(catalog: Catalog, mayThread = true) {
    this.digests = new DigestWriter(catalog, mayThread);
  }

  /** `inner`, whose batches are seen as well. */
  sink(inner: Sink): Sink {
    const { digests, come } = this;
    return {
      name: inner.name,
      ...(inner.inCatalogOrder === undefined ? {} : { inCatalogOrder: inner.inCatalogOrder }),
      ...(inner.checksReferences === undefined ? {} : { checksReferences: inner.checksReferences }),
      open: (header, context) => inner.open(header, context),
      async write(batch) {
        const { path } = batch.kind;
        // A document says at a section's end what the digest is.
        if (inner.inCatalogOrder === true && !come.has(path)) await digests.settle();
        come.set(path, (come.get(path) ?? 0) + batch.rows);
        if (batch.large !== undefined) return inner.write(digests.observed(batch));
        await digests.add(batch);
        await inner.write(batch);
      },
      async finish(run) {
        await digests.settle();
        return inner.finish(run);
      },
      async abort() {
        await digests.close();
        await inner.abort();
      },
    };
  }

  /** Of a section whose records have come, as a document's manifest has it; undefined where none did. */
  digestOf(path: string): string | undefined {
    return this.digests.of(path)?.digest;
  }

  /** `counts`: what became of the records in the target. */
  result(counts: SinkReport["counts"]): TransferDigests {
    return transferDigests(this.digests.digests(), this.come, counts);
  }
}

/** `come`: records by path, as they came to the target; `counts`: what became of them there. */
export function transferDigests(
  { sections, total }: StoreDigests,
  come: ReadonlyMap<string, number>,
  counts: SinkReport["counts"],
): TransferDigests {
  const shown = sections.map(({ path, records, digest }) => {
    const { inserted = 0, updated = 0 } = counts.get(path) ?? {};
    const isWhole = records === come.get(path) && records === inserted + updated;
    return { path, records, ...(isWhole ? { digest } : {}) };
  });
  return { sections: shown, total: shown.every(({ digest }) => digest !== undefined) ? total : undefined };
}
