/** Which stores of a comparison are read in a thread of their own. */
import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { StorageError } from "../../errors.js";
import { catalog as standardCatalog } from "../../llmspell/catalog/index.js";
import { type AnyLocation, type Backend, backendOf } from "../../stores/index.js";
import type { Side } from "../../verify/comparison/record-join.js";
import { hasSourceThreads } from "./source-thread.js";
import { isRereadable, isSource, type Stores, type VerifyOptions } from "./verify-reading.js";

/** A smaller file is read before a thread has begun. Bytes. */
const THREAD_BYTES = 33554432;

/** Threads know llmspell's catalog and our backends only, and nothing of this process: streams, embedded servers. */
export function threadsOf(
  { jobs, catalog, backends: own }: VerifyOptions,
  stores: Stores,
  list: readonly Backend[],
): Readonly<Record<Side, boolean>> {
  if (jobs !== undefined && jobs !== 1 && jobs !== 2) throw new StorageError("E_USAGE", "jobs is 1 or 2");
  const none = { a: false, b: false };
  if (jobs === 1 || !hasSourceThreads() || (catalog ?? standardCatalog) !== standardCatalog || own !== undefined)
    return none;
  const can = (store: Stores[Side]): boolean =>
    !isSource(store) && isRereadable(store) && backendOf(store, list).readsInThread === true;
  if (jobs === 2) return { a: can(stores.a), b: can(stores.b) };
  if (availableParallelism() === 1) return none;
  // A server does not tell how much it holds before it is asked; the other store tells.
  const isWorth = (store: Stores[Side], other: Stores[Side]): boolean => {
    if (isSource(store) || !can(store)) return false;
    const bytes = fileBytes(store, list);
    return bytes === undefined
      ? isSource(other) || (fileBytes(other, list) ?? THREAD_BYTES) >= THREAD_BYTES
      : bytes >= THREAD_BYTES;
  };
  return { a: isWorth(stores.a, stores.b), b: isWorth(stores.b, stores.a) };
}

/** Undefined where the store is no file. */
function fileBytes(store: AnyLocation, list: readonly Backend[]): number | undefined {
  const path = backendOf(store, list).locations.fileOf?.(store);
  return path === undefined ? undefined : (statSync(path, { throwIfNoEntry: false })?.size ?? 0);
}
