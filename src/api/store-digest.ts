/** Digests of what a store holds: two stores whose digests are equal hold the same. */

import { catalog as standardCatalog } from "../llmspell/catalog/index.js";
import type { Sink } from "../sinks/sink.js";
import type { BackendName } from "../sources/source.js";
import type { DigestWriter, StoreDigests } from "../verify/digest.js";
import { refuseUnknownOptions } from "./option-names.js";
import type { ImportOptions, TransferOptions } from "./options.js";
import { importStore } from "./transfer.js";

export type DigestStoreOptions = Omit<TransferOptions, "digests"> &
  Pick<ImportOptions, "sourceMode" | "sourceCheck" | "asOwner" | "order" | "orderBy" | "verifyManifest" | "times">;

export interface StoreDigest extends StoreDigests {
  /** For messages; never with a password. */
  readonly store: string;
  readonly backend: BackendName;
  /** Records that cannot be read, with `onReject`: they are in no digest. */
  readonly rejected: number;
  /** What the store holds and the digests leave out without being asked to, a line each. */
  readonly leftOut: readonly string[];
  readonly seconds: number;
}

/**
 * Digests of what a store's records mean, per section and of all (docs/verification.md), equal for SQLite, PostgreSQL and
 * documents that hold the same. Changes nothing. `store` as importStore's `from`. Throws StorageError.
 */
export async function digestStore(
  store: ImportOptions["from"],
  options: DigestStoreOptions = {},
): Promise<StoreDigest> {
  refuseUnknownOptions("digestStore", options);
  const { DigestWriter } = await import("../verify/digest.js");
  const digests = new DigestWriter(options.catalog ?? standardCatalog);
  const { source, header, totals, leftOut, seconds } = await importStore({
    ...options,
    from: store,
    to: digestSink(digests),
  });
  return { store: source, backend: header.backend, ...digests.digests(), rejected: totals.rejected, leftOut, seconds };
}

/** Keeps nothing but the digests. */
function digestSink(digests: DigestWriter): Sink {
  return {
    name: "digest",
    async open() {},
    async write(batch) {
      if (batch.large === undefined) await digests.add(batch);
      else for await (const _ of digests.observed(batch).large?.chunks() ?? []);
    },
    async finish() {
      await digests.settle();
      const counts = digests
        .digests()
        .sections.map(
          ({ path, records }) => [path, { inserted: records, updated: 0, skipped: 0, dropped: 0 }] as const,
        );
      return { counts: new Map(counts), notes: [] };
    },
    abort: () => digests.close(),
  };
}
