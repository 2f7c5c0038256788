/** What no export reaches, and a reader holds in memory: beyond it a document is refused (docs/security.md). */
import { StorageError } from "../../errors.js";

/** Bytes of a key: of the header, a section, a record's field. */
export const NAME_BYTES = 4096;
/** Keys of the document, of `data`, of a section, of a record. */
export const NAMES = 10000;
/** Bytes of a value of the header, or of the manifest. */
export const HEADER_VALUE_BYTES = 1048576;
/** Containers within containers. */
export const DEPTH = 1000000;
/** Keys that are not known and are told by name; the others by their number. */
export const UNKNOWN_TOLD = 20;
const SHOWN_CHARACTERS = 100;

export function beyondLimit(what: string): StorageError {
  return new StorageError("E_DOCUMENT_LIMIT", what, {
    hint: "No export holds such a thing: docs/security.md has the limits.",
  });
}

/** A name for a message. */
export function shownName(name: string): string {
  return JSON.stringify(name.length > SHOWN_CHARACTERS ? `${name.slice(0, SHOWN_CHARACTERS)}…` : name);
}

/** Tells of keys that are not known: the first by name, all others by their number. */
export class UnknownNames {
  private count = 0;

  constructor(private readonly warn: (message: string) => void) {}

  tell(message: string): void {
    if (++this.count <= UNKNOWN_TOLD) this.warn(message);
  }

  /** To be called when the document was read. */
  finish(): void {
    const more = this.count - UNKNOWN_TOLD;
    if (more <= 0) return;
    this.warn(`and ${more} more that are not known and were ignored`);
  }
}
