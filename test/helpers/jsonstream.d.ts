/** The part of JSONStream that the tests and benches use; the package ships no types. */
declare module "JSONStream" {
  import type { Duplex } from "node:stream";

  /** A stream that takes JSON text and emits each value that matches the path, such as `data.sessions.*`. */
  export function parse(path?: string | readonly unknown[] | null): Duplex;
}
