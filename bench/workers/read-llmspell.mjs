// node read-llmspell.mjs DOCUMENT: our document reader alone; prints how many records it read.
import { catalog, createDocumentSource } from "../../dist/index.js";

const context = {
  signal: new AbortController().signal,
  reject: async ({ error }) => {
    throw error;
  },
  isRejected: () => false,
  warn: () => undefined,
};
const source = createDocumentSource({ input: { path: process.argv[2] } });
await source.open(context);
let records = 0;
for await (const batch of source.read({ paths: new Set(catalog.kinds.map(({ path }) => path)) }, context))
  records += batch.rows;
await source.close();
console.log(records);
