// Copies a database into another one by way of a document, and says what arrived.
// Usage: node examples/copy-database.mjs FROM DOCUMENT TO      e.g. llmspell.db backup.json.gz postgresql://localhost/llmspell
import { exportStore, importStore, StorageError } from "llmspell-storage";

const [from, document, to] = process.argv.slice(2);
const controller = new AbortController();
process.once("SIGINT", () => controller.abort());

try {
  const exported = await exportStore({
    from,
    to: document,
    signal: controller.signal,
    onWarning: (message) => console.warn(`warning: ${message}`),
  });
  console.log(`${exported.totals.inserted} records written to ${exported.target}`);

  const imported = await importStore({ from: document, to, signal: controller.signal });
  for (const { path, inserted, updated } of imported.kinds) {
    console.log(`${path}: ${inserted} new, ${updated} updated`);
  }
} catch (error) {
  if (!(error instanceof StorageError)) throw error;
  console.error(`${error.message} [${error.code}]`, error.context);
  process.exitCode = error.exitStatus;
}
