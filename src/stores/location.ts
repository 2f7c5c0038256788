/** Where a store is: one location type for each backend. */
import type { DirectoryLocation } from "./directory.js";
import type { DocumentLocation, StreamLocation } from "./document.js";
import type { PgliteLocation } from "./pglite.js";
import type { PostgresLocation } from "./postgres.js";
import type { SqliteLocation } from "./sqlite.js";

export type StoreLocation =
  | PostgresLocation
  | PgliteLocation
  | SqliteLocation
  | DirectoryLocation
  | DocumentLocation
  | StreamLocation;
