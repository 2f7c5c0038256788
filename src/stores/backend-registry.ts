/** The backends, all of them: here one is added. Docs: docs/adding-a-backend.md. */
import type { Backend } from "./backend.js";
import { directory } from "./directory.js";
import { document, stream } from "./document.js";
import { pglite } from "./pglite.js";
import { postgres } from "./postgres.js";
import { sqlite } from "./sqlite.js";

/** A STORE text is offered to each in this order; messages list their forms so. */
export const backends: readonly Backend[] = [postgres, pglite, sqlite, directory, document, stream];
