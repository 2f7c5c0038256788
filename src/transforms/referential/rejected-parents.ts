/**
 * What belongs to a rejected record goes with it, rejected as well. Databases check their foreign keys themselves, at the end;
 * a document does not, and would not import.
 */
import { type Catalog, type ForeignKey, fieldIndex, type RecordKind } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import { BatchEditor } from "../../records/batch-editor.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { describeKey, recordKey } from "../../records/record-key.js";
import type { RunContext } from "../../records/run-context.js";
import { rejectRow } from "../reject-row.js";
import type { Transform } from "../transform.js";

type Batches = AsyncIterable<RecordBatch>;

export interface OrphanOptions {
  readonly catalog: Catalog;
  /** Whether any record of the kind was rejected, as far as is known cheaply. */
  readonly hasRejected: (path: string) => boolean;
}

/** The transform, which gets no child of a record that was rejected before: there the keys are as they were then. */
export function withoutOrphans(transform: Transform, options: OrphanOptions): Transform {
  const { name, mayDrop, tenantAfter, emits } = transform;
  return {
    name,
    // They may be methods of the transform's own.
    ...(mayDrop === undefined ? {} : { mayDrop: (path) => mayDrop.call(transform, path) }),
    ...(tenantAfter === undefined ? {} : { tenantAfter: (tenant) => tenantAfter.call(transform, tenant) }),
    ...(emits === undefined ? {} : { emits }),
    apply: (batches, context) => transform.apply(rejectOrphans(batches, options, context), context),
  };
}

/** The batches without children of rejected records, which are rejected (E_PARENT_REJECTED). Parents come before children. */
export async function* rejectOrphans(
  batches: Batches,
  { catalog, hasRejected }: OrphanOptions,
  context: RunContext,
): AsyncGenerator<RecordBatch> {
  const editor = new BatchEditor();
  for await (const batch of batches) {
    const { kind } = batch;
    const keys = kind.foreignKeys.filter(({ references }) => hasRejected(references));
    if (keys.length === 0) {
      yield batch;
      continue;
    }
    editor.begin(batch);
    for (let row = 0; row < batch.rows; row++) {
      const error = parentError(batch, row, keys, catalog, context);
      if (error === undefined) continue;
      await rejectRow(context, batch, row, error);
      editor.drop(row);
    }
    const kept = editor.finish();
    if (kept === undefined) await batch.large?.discard();
    else yield kept;
  }
}

function parentError(
  batch: RecordBatch,
  row: number,
  keys: readonly ForeignKey[],
  catalog: Catalog,
  context: RunContext,
): StorageError | undefined {
  for (const key of keys) {
    const parent = catalog.byPath.get(key.references) as RecordKind;
    if (key.fields.some((name) => batch.isNull(row, fieldIndex(batch.kind, name)))) continue;
    const parentKey = describeKey(parent, (field) => {
      const at = key.referencedFields.indexOf(parent.fields[field]?.name as string);
      return at === -1 ? undefined : batch.value(row, fieldIndex(batch.kind, key.fields[at] as string));
    });
    if (!context.isRejected(parent.path, parentKey)) continue;
    return new StorageError(
      "E_PARENT_REJECTED",
      `the ${parent.noun} that the ${batch.kind.noun} belongs to was rejected`,
      {
        section: batch.kind.path,
        key: recordKey(batch, row),
        field: key.fields.at(-1) as string,
        detail: `it refers to the ${parent.noun} ${parentKey}`,
      },
    );
  }
  return undefined;
}
