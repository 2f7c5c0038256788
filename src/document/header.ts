/** The document's head: what it says of itself before its data. */

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
