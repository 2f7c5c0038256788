/** Public functions whose parts most programs never need: these are loaded at the first call, not with the library. */
import type { PlanOptions, TransferPlan } from "./planning/results.js";
import type { VerifyOptions, VerifyResult } from "./verification/verify-stores.js";

/**
 * What exportStore or importStore with the same options would do: counts, way, space, what is missing, what it would be
 * refused for. Reads both stores with a reader's locks and writes nothing. With `onReject` the plan is of a run that goes on
 * past bad records; the function itself is not called. Throws StorageError where a store cannot be looked at.
 */
export async function planTransfer(options: PlanOptions): Promise<TransferPlan> {
  return (await import("./planning/plan-transfer.js")).planTransfer(options);
}

/**
 * Compares two stores, record by record in constant memory, and changes nothing. That they differ is a result, not an error.
 * Throws StorageError (docs/errors.md).
 */
export async function verifyStores(options: VerifyOptions): Promise<VerifyResult> {
  return (await import("./verification/verify-stores.js")).verifyStores(options);
}
