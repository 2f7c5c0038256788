/** The manifest: what the document says of its own arrays. */
import { StorageError } from "../errors.js";

export interface ArrayDigest {
  readonly records: number;
  /** SHA-256 of the array's bytes from `[` to `]`, in hexadecimal. */
  readonly sha256: string;
}

function broken(message: string, section?: string): StorageError {
  return new StorageError("E_DOCUMENT_MANIFEST", message, {
    ...(section === undefined ? {} : { section }),
    hint: "The document was changed or damaged after it was written; --no-verify-manifest reads it all the same.",
  });
}

function isEntry(value: unknown): value is ArrayDigest {
  return typeof value === "object" && value !== null && "records" in value && "sha256" in value;
}

/** Compares the manifest (parsed JSON) with what was read: an E_DOCUMENT_MANIFEST for each section that differs. */
export function* manifestErrors(
  manifest: unknown,
  found: ReadonlyMap<string, ArrayDigest>,
): Generator<StorageError, void, undefined> {
  if (typeof manifest !== "object" || manifest === null) {
    yield broken("the document's manifest is missing");
    return;
  }
  const entries = new Map<string, unknown>(Object.entries(manifest));
  let total = 0;
  for (const [path, { records, sha256 }] of found) {
    const entry = entries.get(path);
    if (!isEntry(entry)) yield broken(`the manifest does not know ${path}`, path);
    else if (entry.records !== records)
      yield broken(`${path} has ${records} records, the manifest says another number`, path);
    else if (entry.sha256 !== sha256) yield broken(`${path} is not what was written: its digest differs`, path);
    total += records;
    entries.delete(path);
  }
  if (entries.get("total") !== total)
    yield broken(`the document has ${total} records, the manifest says another number`);
  entries.delete("total");
  for (const path of entries.keys()) yield broken(`${path} is missing, but the manifest knows it`, path);
}
