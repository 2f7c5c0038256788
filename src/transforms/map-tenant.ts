/** `--map-tenant OLD=NEW`: gives one tenant's records to another, on the bytes. */
import { type Catalog, tenantFieldOf, tenantIndex } from "../catalog/index.js";
import { codePoints } from "../codecs/text.js";
import { StorageError } from "../errors.js";
import { BatchEditor } from "../records/batch-editor.js";
import { effectOf, noneOf } from "./effect.js";
import type { Transform } from "./transform.js";

/** Every tenant (RecordKind.tenantField) that is `from` becomes `to`, in every kind. Nothing else changes. E_USAGE for a name that cannot be one. */
export function createMapTenant(from: string, to: string, catalog: Catalog): Transform {
  const tenantFields = new Map(catalog.kinds.map((kind) => [kind.path, tenantFieldOf(kind)?.name]));
  const old = tenantBytes(from);
  const replacement = tenantBytes(to);
  return {
    name: `map-tenant ${from}=${to}`,
    mayDrop: () => false,
    mayChange(path, field) {
      const tenant = tenantFields.get(path);
      return tenant !== undefined && (field === undefined || field === tenant);
    },
    tenantAfter: (tenant) => (tenant === from ? to : tenant),
    async *apply(batches, context) {
      const editor = new BatchEditor();
      const effect = effectOf(context);
      for await (const batch of batches) {
        const { kind, rows, width, starts, lengths, bytes } = batch;
        const field = tenantIndex(kind);
        if (field < 0) {
          yield batch;
          continue;
        }
        editor.begin(batch);
        const { arena } = editor;
        const start = arena.length;
        arena.copy(replacement, 0, replacement.length);
        for (let row = 0, at = field; row < rows; row++, at += width) {
          const found = starts[at] as number;
          if (lengths[at] !== old.length || old.compare(bytes, found, found + old.length) !== 0) continue;
          editor.setSlice(row, field, start, replacement.length);
          effect.hits++;
        }
        effect.records += rows;
        const edited = editor.finish();
        if (edited !== undefined) yield edited;
      }
      if (effect.hits > 0 || context.ahead === true) return;
      context.warn(`map-tenant ${from}=${to}: ${noneOf(effect.records)} has the tenant ${JSON.stringify(from)}`);
    },
  };
}

function tenantBytes(tenant: string): Buffer {
  const bytes = Buffer.from(tenant, "utf8");
  const isTenant = tenant !== "" && tenant.isWellFormed() && !tenant.includes("\0");
  if (isTenant && codePoints(bytes, 0, bytes.length) <= 255) return bytes;
  throw new StorageError("E_USAGE", "map-tenant: a tenant's name has 1 to 255 characters", {
    hint: "The form is OLD=NEW.",
  });
}
