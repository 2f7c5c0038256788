/** How the records of a document are to be read, which depends on who wrote it. */
import type { DocumentHeader } from "./header.js";

export interface DocumentDialect {
  /** Written by llmspell itself. */
  readonly legacy: boolean;
  /** The unit of its times: microseconds or seconds since 1970. */
  readonly times: "us" | "s";
}

/** An application whose own exporters write documents that lack what ours say. */
export interface DocumentApplication {
  /** The sections whose first records tell by a surrogate key whether they did; undefined: no record needs to be looked at. */
  tellingSections(header: Partial<DocumentHeader>): ReadonlySet<string> | undefined;
  /**
   * `hasSurrogates`: what those records told. `times`: what the user says of a document without a producer.
   * E_DOCUMENT_SHAPE, E_USAGE.
   */
  dialectOf(
    header: Pick<DocumentHeader, "producer" | "sourceBackend" | "migrations">,
    hasSurrogates: boolean,
    times?: "us" | "s",
  ): DocumentDialect;
}
