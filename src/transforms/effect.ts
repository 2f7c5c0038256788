/** Steps and tenants that met no record may be misspelt: what they met is counted, and said (docs/transforms.md). */
import { tenantIndex } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext, StepEffect } from "../records/run-context.js";

/** The counts of a pass of a step, which asks for them once, before its first batch. */
export function effectOf(context: RunContext): StepEffect {
  return context.effect?.() ?? { records: 0, hits: 0, passed: 0 };
}

/** `none of the 1,234 records of sessions` or `no record of sessions`. */
export function noneOf(records: number, sections: readonly string[] = []): string {
  const of = sections.length === 0 ? "" : ` of ${sections.join(", ")}`;
  if (records === 0) return `no record${of}`;
  return `none of the ${records.toLocaleString("en-US")} record${records === 1 ? "" : "s"}${of}`;
}

/**
 * A mask at the end of its records. Nothing may be kept of a run that left unmasked what it was told to hide: E_NO_EFFECT,
 * unless the path is `optional`; without any records of the sections a note.
 */
export function settleMask(
  { records, hits }: StepEffect,
  mask: { readonly name: string; readonly paths: readonly string[]; readonly optional: boolean },
  context: RunContext,
): void {
  if (hits > 0 || context.ahead === true) return;
  const whose = `${mask.name}: ${noneOf(records, mask.paths)}`;
  if (records === 0) context.note?.(`${whose} was there to be masked`);
  else if (mask.optional) context.note?.(`${whose} has the path`);
  else
    throw new StorageError("E_NO_EFFECT", `${whose} has the path`, {
      ...(mask.paths.length === 1 ? { section: mask.paths[0] as string } : {}),
      hint: "Is it misspelt? --mask-optional (optional: true) takes a path that no record need have.",
    });
}

/** Passes all batches on; at their end warns of each tenant of which none had a record. */
export async function* warnOfMissingTenants(
  batches: AsyncIterable<RecordBatch>,
  tenants: readonly string[],
  context: RunContext,
): AsyncGenerator<RecordBatch> {
  const unmet = new UnmetTenants(tenants);
  for await (const batch of batches) {
    unmet.see(batch);
    yield batch;
  }
  for (const tenant of unmet.names()) warnOfMissing(tenant, context);
}

export function warnOfMissing(tenant: string, context: RunContext): void {
  context.warn(`no record of the tenant ${JSON.stringify(tenant)} was found`);
}

/** Of some tenants, those that had no record so far. */
export class UnmetTenants {
  /** By their UTF-8 bytes. */
  private readonly left: Map<string, string>;

  constructor(tenants: readonly string[]) {
    this.left = new Map(tenants.map((tenant) => [Buffer.from(tenant, "utf8").toString("latin1"), tenant]));
  }

  see(batch: RecordBatch): void {
    if (this.left.size === 0) return;
    const field = tenantIndex(batch.kind);
    for (let row = 0; field >= 0 && row < batch.rows && this.left.size > 0; row++)
      this.left.delete(batch.value(row, field).toString("latin1"));
  }

  names(): readonly string[] {
    return [...this.left.values()];
  }
}
