// A transform: every record of one tenant arrives as another tenant's.
// Usage: node examples/rename-tenant.mjs FROM TO OLD NEW      e.g. llmspell.db copy.db acme acme-staging
import { BatchBuilder, fieldIndex, importStore } from "llmspell-storage";

/** @returns {import("llmspell-storage").Transform} */
function renameTenant(oldName, newName) {
  const oldBytes = Buffer.from(oldName);
  const newBytes = Buffer.from(newName);
  return {
    name: `rename tenant ${oldName}`,
    mayDrop: () => false,
    async *apply(batches) {
      for await (const batch of batches) {
        const tenant = fieldIndex(batch.kind, "tenant_id");
        const builder = new BatchBuilder(batch.kind);
        for (let row = 0; row < batch.rows; row++) {
          builder.begin();
          for (let field = 0; field < batch.width; field++) {
            // NULL is what a field is that is not set; a large value travels beside its batch.
            if (batch.isNull(row, field) || batch.large?.field === field) continue;
            const value = batch.value(row, field);
            const changed = field === tenant && value.equals(oldBytes) ? newBytes : value;
            const start = builder.arena.length;
            builder.arena.copy(changed, 0, changed.length);
            builder.set(field, start);
          }
          if (batch.large !== undefined) builder.setLarge(batch.large);
          builder.commit();
        }
        yield builder.take();
      }
    },
  };
}

const [from, to, oldName, newName] = process.argv.slice(2);
const { totals } = await importStore({ from, to, transforms: [renameTenant(oldName, newName)] });
console.log(`${totals.inserted + totals.updated} records`);
