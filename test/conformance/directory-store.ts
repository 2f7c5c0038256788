import { rmSync } from "node:fs";
import { join } from "node:path";
import { createDirectorySink, createDirectorySource } from "../../src/index.js";
import { type StoreFactory, temporaryFolder } from "./store.js";

/** Its files are small, so that kinds are cut. */
const PART_BYTES = 30_000;

export const directoryStore: StoreFactory = {
  name: "directory",
  database: false,
  async open() {
    const folder = temporaryFolder();
    const path = join(folder, "export");
    return {
      source: (limits = {}) => createDirectorySource({ path, ...limits }),
      sink: () =>
        createDirectorySink({ path, partBytes: PART_BYTES, compress: "zstd", producer: "llmspell-storage/test" }),
      clear: async () => {
        rmSync(path, { force: true, recursive: true });
      },
      close: async () => rmSync(folder, { recursive: true, force: true }),
    };
  },
};
