/** Digests of what a store holds: two stores whose digests are equal hold the same. */

import { StorageError } from "../errors.js";
import { catalog as standardCatalog } from "../llmspell/catalog/index.js";
import type { Sink } from "../sinks/sink.js";
import type { BackendName } from "../sources/source.js";
import { UnmetTenants } from "../transforms/effect.js";
import type { Transform } from "../transforms/transform.js";
import type { DigestWriter, StoreDigests } from "../verify/digest.js";
import { refuseUnknownOptions, requireStore } from "./option-names.js";
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
  /** Lines for the user, e.g. that a step changed nothing. */
  readonly notes: readonly string[];
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
  requireStore("digestStore", store);
  const { DigestWriter } = await import("../verify/digest.js");
  const digests = new DigestWriter(options.catalog ?? standardCatalog);
  const unmet = new UnmetTenants(options.tenants ?? []);
  const { source, header, totals, leftOut, notes, seconds } = await importStore({
    ...options,
    transforms: [watching(unmet), ...(options.transforms ?? [])],
    from: store,
    to: digestSink(digests),
  });
  // With a limit the first records may be others'.
  if (options.limit === undefined) requireTenants(unmet, "the store has no");
  return {
    store: source,
    backend: header.backend,
    ...digests.digests(),
    rejected: totals.rejected,
    leftOut,
    notes,
    seconds,
  };
}

/** Before the steps: of whom the store has records. */
function watching(unmet: UnmetTenants): Transform {
  return {
    name: "tenants",
    mayDrop: () => false,
    mayChange: () => false,
    async *apply(batches) {
      for await (const batch of batches) {
        unmet.see(batch);
        yield batch;
      }
    },
  };
}

/** A digest of nothing would be equal to that of any other store: E_NO_EFFECT. `whose`: how the message begins. */
export function requireTenants(unmet: UnmetTenants, whose: string): void {
  const names = unmet.names();
  if (names.length === 0) return;
  throw new StorageError(
    "E_NO_EFFECT",
    `${whose} record of the tenant ${names.map((name) => JSON.stringify(name)).join(", ")}`,
    {
      hint: "Is it misspelt? `llmspell storage info --tenants` lists those that a store has.",
    },
  );
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
