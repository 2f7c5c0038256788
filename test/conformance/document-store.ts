import { rmSync } from "node:fs";
import { join } from "node:path";
import { createDocumentSink, createDocumentSource } from "../../src/index.js";
import { type StoreFactory, temporaryFolder } from "./store.js";

export const documentStore: StoreFactory = {
  name: "document",
  database: false,
  async open() {
    const folder = temporaryFolder();
    const path = join(folder, "export.json");
    return {
      source: (limits = {}) => createDocumentSource({ input: { path }, ...limits }),
      sink: () => createDocumentSink({ output: { path }, producer: "llmspell-storage/test" }),
      clear: async () => {
        rmSync(path, { force: true });
      },
      close: async () => rmSync(folder, { recursive: true, force: true }),
    };
  },
};
