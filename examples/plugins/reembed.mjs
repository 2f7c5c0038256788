// A plugin: embeddings of 768 dimensions become ones of 384, by a function of yours.
// llmspell storage migrate --from old.db --to new.db --plugin './reembed.mjs:{"embed":"./embed.mjs"}'
// embed.mjs exports as its default (records) => Float32Array[] or a promise of them: of each record the 384 numbers.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { defineTransform } from "llmspell-storage";
import { z } from "zod";

export default defineTransform({
  name: "reembed",
  sections: ["vector_embeddings.768"],
  // The records leave their section for this one.
  emits: ["vector_embeddings.384"],
  options: z.strictObject({ embed: z.string() }),
  // Many records at a time: a model is fastest so.
  batch: true,
  async setup({ options }) {
    const { default: embed } = await import(pathToFileURL(resolve(options.embed)).href);
    return { embed };
  },
  async transform(records, { state, into }) {
    const embeddings = await state.embed(records);
    return records.map((record, at) =>
      into("vector_embeddings.384", { ...record, dimension: 384, embedding: embeddings[at] }),
    );
  },
});
