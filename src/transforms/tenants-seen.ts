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
  const missing = new Map(tenants.map((tenant) => [Buffer.from(tenant, "utf8").toString("latin1"), tenant]));
  for await (const batch of batches) {
    if (missing.size > 0) removeSeen(missing, batch);
    yield batch;
  }
  for (const tenant of missing.values()) context.warn(`no record of the tenant ${JSON.stringify(tenant)} was found`);
}

/** `missing`: by their UTF-8 bytes, of which there may be many. */
function removeSeen(missing: Map<string, string>, batch: RecordBatch): void {
  const field = tenantIndex(batch.kind);
  for (let row = 0; field >= 0 && row < batch.rows && missing.size > 0; row++)
    missing.delete(batch.value(row, field).toString("latin1"));
}
