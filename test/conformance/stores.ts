/** The stores that the suites run against, by their backends: each of src/stores/backend-registry.ts has one or more. */
import { type Backend, backends } from "../../src/stores/index.js";
import { directoryStore } from "./directory-store.js";
import { documentStore } from "./document-store.js";
import { pgliteStore, postgresCursorStore, postgresStore } from "./postgres-store.js";
import { registerSinkTests } from "./sink-tests.js";
import { registerSourceTests } from "./source-tests.js";
import { sqliteStore } from "./sqlite-store.js";
import type { StoreFactory } from "./store.js";

export const stores: Readonly<Record<string, readonly StoreFactory[]>> = {
  postgres: [postgresStore, postgresCursorStore],
  pglite: [pgliteStore],
  sqlite: [sqliteStore],
  directory: [directoryStore],
  document: [documentStore],
};

/** Backends without stores of their own here, and whose stores stand for theirs. */
export const SHARED: Readonly<Record<string, string>> = { stream: "document" };

/** What each source and sink must do. The first store is written to; all are read. */
export function registerBackendTests(backend: Backend, factories = stores[backend.type] ?? []): void {
  const [first] = factories;
  if (first === undefined) throw new Error(`no store for the backend ${backend.type}`);
  for (const factory of factories) registerSourceTests(factory);
  registerSinkTests(first);
}

/** A backend of the list. */
export function listed(type: string): Backend {
  const backend = backends.find((each) => each.type === type);
  if (backend === undefined) throw new Error(`no backend ${type}`);
  return backend;
}
