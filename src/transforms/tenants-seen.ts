/** Which of the tenants that a run asks for have records: one that has none may be misspelt. */
import { tenantIndex } from "../catalog/index.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";

/** Passes all batches on; at their end warns of each tenant of which none had a record. */
export async function* warnOfMissingTenants(
  batches: AsyncIterable<RecordBatch>,
  tenants: readonly string[],
  context: RunContext,
): AsyncGenerator<RecordBatch> {
  const missing = new Map(tenants.map((tenant) => [tenant, Buffer.from(tenant, "utf8")]));
  for await (const batch of batches) {
    if (missing.size > 0) removeSeen(missing, batch);
    yield batch;
  }
  for (const tenant of missing.keys()) context.warn(`no record of the tenant ${JSON.stringify(tenant)} was found`);
}

function removeSeen(missing: Map<string, Buffer>, batch: RecordBatch): void {
  const field = tenantIndex(batch.kind);
  for (let row = 0; field >= 0 && row < batch.rows && missing.size > 0; row++) {
    const value = batch.value(row, field);
    for (const [tenant, bytes] of missing) if (bytes.equals(value)) missing.delete(tenant);
  }
}
