/** In which order a database's records are read, as the command line says it. */
import type { ExportOptions } from "../api/options.js";

export interface OrderFlags {
  readonly order?: "key" | "table";
  readonly orderBy?: "auto" | "index" | "sort";
}

/** Those that were given. */
export function orderOptions({ order, orderBy }: OrderFlags): Pick<ExportOptions, "order" | "orderBy"> {
  return { ...(order === undefined ? {} : { order }), ...(orderBy === undefined ? {} : { orderBy }) };
}
