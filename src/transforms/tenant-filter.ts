/** Keeps the records of some tenants. Sources filter themselves (Selection.tenants); this is for whatever comes after. */
import { tenantIndex } from "../catalog/index.js";
import { RecordBatch } from "../records/record-batch.js";
import type { Transform } from "./transform.js";

/** Passes on the records of `tenants`, and those of kinds without tenants. */
export function createTenantFilter(tenants: readonly string[]): Transform {
  const wanted = tenants.map((tenant) => Buffer.from(tenant, "utf8"));
  return {
    name: "tenant filter",
    // Whole tenants: with a record goes all that refers to it.
    mayDrop: () => false,
    tellsDrops: true,
    async *apply(batches, { dropped }) {
      for await (const batch of batches) {
        const kept = keepRows(batch, wanted, (row) => dropped?.(batch, row));
        if (kept !== undefined) yield kept;
        else await batch.large?.discard();
      }
    },
  };
}

/** The batch without other tenants' rows; the values' bytes are shared. Undefined when no row is left. */
function keepRows(
  batch: RecordBatch,
  wanted: readonly Buffer[],
  dropped: (row: number) => void,
): RecordBatch | undefined {
  const { kind, width } = batch;
  const tenant = tenantIndex(kind);
  if (tenant < 0) return batch;
  const starts = new Uint32Array(batch.rows * width);
  const lengths = new Int32Array(batch.rows * width);
  const assumed = batch.assumed && new Uint8Array(batch.rows * width);
  let rows = 0;
  for (let row = 0; row < batch.rows; row++) {
    const value = batch.value(row, tenant);
    if (!wanted.some((one) => one.equals(value))) {
      dropped(row);
      continue;
    }
    starts.set(batch.starts.subarray(row * width, (row + 1) * width), rows * width);
    lengths.set(batch.lengths.subarray(row * width, (row + 1) * width), rows * width);
    if (batch.assumed) assumed?.set(batch.assumed.subarray(row * width, (row + 1) * width), rows * width);
    rows++;
  }
  if (rows === batch.rows) return batch;
  return rows === 0 ? undefined : new RecordBatch(kind, rows, batch.bytes, starts, lengths, batch.large, assumed);
}
