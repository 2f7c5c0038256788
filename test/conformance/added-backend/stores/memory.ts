/** Databases in this process's memory: `memory:NAME`. */
import { catalog as standardCatalog } from "../../../../src/llmspell/catalog/index.js";
import type { Backend } from "../../../../src/stores/backend.js";
import { makeMemory, openMemory } from "../backends/memory/database.js";

export interface MemoryLocation {
  readonly type: "memory";
  readonly name: string;
}

const MIGRATION = { id: "V1", name: "memory", applied: true } as const;

export const memory: Backend<MemoryLocation> = {
  type: "memory",
  word: "memory",
  locations: {
    forms: ["memory:NAME"],
    parse: (text) => (/^memory:./.test(text) ? { type: "memory", name: text.slice(7) } : undefined),
    nameOf: ({ name }) => `memory:${name}`,
    isSame: (one, other) => one.name === other.name,
  },
  order: "key",
  database: {
    title: "memory",
    spelling: "sqlite",
    ids: "any",
    async migrate({ name }) {
      makeMemory(name);
      return { applied: [], warnings: [] };
    },
    async inspect({ name }) {
      const { records } = openMemory(name);
      const kinds = [...records.values()].filter(({ length }) => length > 0).length;
      const comparison = { missing: [], pending: [], broken: [], notes: [] };
      return { facts: [`Kinds that have records: ${kinds}`], json: { kinds }, migrations: [MIGRATION], comparison };
    },
  },
  async createSource({ name }, { catalog = standardCatalog }) {
    const { createMemorySource } = await import("../sources/memory.js");
    return createMemorySource({ name, catalog });
  },
  async createSink({ name }, { catalog = standardCatalog, onConflict, onOrphan, dryRun }) {
    const { createMemorySink } = await import("../sinks/memory.js");
    return createMemorySink({ name, catalog, onConflict, onOrphan, dryRun });
  },
  async readFacts({ name }) {
    openMemory(name);
    return {};
  },
};
