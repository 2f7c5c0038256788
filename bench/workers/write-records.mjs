// node write-records.mjs DOCUMENT llmspell|stringify TIMES: writes the first batch of records of a document TIMES times to
// /dev/null; prints the bytes of one round. `stringify` makes text of the parsed records in pieces of 256 KiB.
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { catalog, createDocumentSink, createDocumentSource } from "../../dist/index.js";

const [path, how, times] = process.argv.slice(2);
const context = {
  signal: new AbortController().signal,
  reject: async ({ error }) => {
    throw error;
  },
  isRejected: () => false,
  warn: () => undefined,
};
const source = createDocumentSource({ input: { path } });
const header = await source.open(context);
const batches = source.read({ paths: new Set(catalog.kinds.map((kind) => kind.path)) }, context);
const { value: batch } = await batches.next();

async function text() {
  const chunks = [];
  const { Writable } = await import("node:stream");
  const stream = new Writable({
    write(chunk, _, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  const sink = createDocumentSink({ output: { stream }, producer: "bench" });
  await sink.open(header, context);
  await sink.write(batch);
  await sink.finish();
  return Buffer.concat(chunks).toString();
}

const document = await text();
if (how === "llmspell") {
  const sink = createDocumentSink({ output: { stream: createWriteStream("/dev/null") }, producer: "bench" });
  await sink.open(header, context);
  for (let i = 0; i < Number(times); i++) await sink.write(batch);
  await sink.finish();
} else {
  const records = Object.values(JSON.parse(document).data).flat();
  const stream = createWriteStream("/dev/null", { highWaterMark: 262144 });
  let pending = "";
  for (let i = 0; i < Number(times); i++) {
    for (const record of records) {
      pending += `${JSON.stringify(record)},\n`;
      if (pending.length < 262144) continue;
      if (!stream.write(pending)) await once(stream, "drain");
      pending = "";
    }
  }
  stream.end(pending);
  await once(stream, "finish");
}
await source.close();
console.log(document.length);
