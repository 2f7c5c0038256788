/** The document's head: what it says of itself before its data. */

import { StorageError } from "../errors.js";

/** The version that is written; every 1.x is read. */
export const DOCUMENT_VERSION = "1.0";

export interface DocumentHeader {
  readonly version: string;
  /** UTC, ISO 8601. */
  readonly exportedAt: string;
  readonly sourceBackend: "sqlite" | "postgresql";
  /** Undefined in documents of llmspell itself, and where somebody dropped it. */
  readonly producer: string | undefined;
  /** Versions applied in the source, ascending. */
  readonly migrations: readonly string[];
}

/**
 * The first bytes of a document, up to and with the brace that opens `data`. The line breaks stand where neither jq nor
 * any other usual printer puts them: who finds these bytes knows that nobody has re-serialised the document.
 */
export function printHead(header: DocumentHeader): string {
  return `{"version":${JSON.stringify(header.version)},
"exported_at":${JSON.stringify(header.exportedAt)},
"source_backend":${JSON.stringify(header.sourceBackend)},
"producer":${JSON.stringify(header.producer ?? null)},
"migrations":${JSON.stringify(header.migrations)},
"data":{`;
}

/** The first of our versions whose documents say that they are partial. */
const TELLS_PARTIAL = [0, 2] as const;

/** Whether a document of this producer that does not call itself partial is whole. */
export function tellsPartial(producer: string | undefined): boolean {
  const [, major, minor] = /^llmspell-storage\/(\d+)\.(\d+)\.\d+$/.exec(producer ?? "") ?? [];
  if (major === undefined) return false;
  return Number(major) > TELLS_PARTIAL[0] || (Number(major) === TELLS_PARTIAL[0] && Number(minor) >= TELLS_PARTIAL[1]);
}

/** How the records of a document are to be read. */
export interface DocumentDialect {
  /** Written by llmspell itself. */
  readonly legacy: boolean;
  /** The unit of its times: microseconds or seconds since 1970. */
  readonly times: "us" | "s";
}

/**
 * llmspell's own exporters name no producer. From SQLite they always write V3 and later, and seconds; what others leave of our
 * documents keeps the "V1" that ours begin with. From PostgreSQL they write microseconds, and are known by the `id` of
 * sessions, events or hooks, which ours never have (`hasSurrogates`). `times`: what the user says of a document without a
 * producer. E_DOCUMENT_SHAPE for one that tells nothing of its times, E_USAGE where it tells otherwise.
 */
export function dialectOf(
  { producer, sourceBackend, migrations }: Pick<DocumentHeader, "producer" | "sourceBackend" | "migrations">,
  hasSurrogates: boolean,
  times?: "us" | "s",
): DocumentDialect {
  if (producer !== undefined) {
    if (times === "s") throw new StorageError("E_USAGE", "the document's producer writes microseconds, not seconds");
    return { legacy: false, times: "us" };
  }
  if (sourceBackend === "postgresql") {
    if (times === "s") return { legacy: true, times };
    return { legacy: hasSurrogates, times: "us" };
  }
  if (migrations.includes("V1")) return times === "s" ? { legacy: true, times } : { legacy: false, times: "us" };
  if (migrations.length > 0) return { legacy: true, times: times ?? "s" };
  if (times !== undefined) return { legacy: times === "s", times };
  throw new StorageError(
    "E_DOCUMENT_SHAPE",
    "the document does not say whether its times are seconds or microseconds",
    {
      detail: "it names neither a producer nor migrations",
      hint: "llmspell's own documents from SQLite have seconds: --times s. Those of this tool have microseconds: --times us.",
    },
  );
}

/** Whether the document may be of llmspell's PostgreSQL exporter, as far as its header has come: its records tell. */
export function mayHaveSurrogates({ producer, sourceBackend }: Partial<DocumentHeader>): boolean {
  return producer === undefined && sourceBackend !== "sqlite";
}

/** Whether the first bytes are those that this tool writes. */
export function isOwnHead(head: string): boolean {
  return /^\{"version":"1\.\d+",\n"exported_at":"[^"]*",\n"source_backend":"\w+",\n"producer":"llmspell-storage\//.test(
    head,
  );
}

/** Whether the first bytes are those of an export document: one of ours, of llmspell, or of jq without `-S`. */
export function looksLikeDocument(head: string): boolean {
  return /^\s*\{\s*"version"\s*:\s*"1\.\d+"\s*,\s*"exported_at"\s*:/.test(head);
}
