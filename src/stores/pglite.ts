/** The PostgreSQL in this process, in a folder of its own. */
import { expandPath } from "../folders.js";
import type { Backend } from "./backend.js";
import { postgresParts } from "./postgres.js";

export interface PgliteLocation {
  readonly type: "pglite";
  readonly directory: string;
}

const nameOf = ({ directory }: PgliteLocation): string => `pglite:${directory}`;

export const pglite: Backend<PgliteLocation> = {
  type: "pglite",
  locations: {
    forms: ["pglite:DIR"],
    parse: (text) =>
      text.startsWith("pglite:") && text.length > 7
        ? { type: "pglite", directory: expandPath(text.slice(7)) }
        : undefined,
    nameOf,
    fileOf: ({ directory }) => directory,
  },
  ...postgresParts(({ directory }) => ({ pglite: directory }), nameOf),
};
