/** What is wrong with an export document, for a program: all that an import would refuse, without a database. */
import type { Readable } from "node:stream";
import type { Catalog } from "../catalog/index.js";
import {
  type BACKEND_NAMES,
  BACKEND_NAMES_HINT,
  type ConfiguredName,
  parseBackendName,
} from "../config/backend-names.js";
import { StorageError } from "../errors.js";
import { catalog as standardCatalog } from "../llmspell/catalog/index.js";
import type { Progress } from "../pipeline.js";
import type { StoreHeader } from "../sources/source.js";
import {
  createSource,
  databaseOf,
  documentLocation,
  type StoreLocation,
  storeName,
  streamLocation,
} from "../stores/index.js";
import type { Finding, FindingGroup } from "../verify/validation/findings.js";
import { refuseUnknownOptions, requireStore } from "./option-names.js";

export type { Finding, FindingGroup } from "../verify/validation/findings.js";

export interface ValidateOptions {
  /** Also what this backend cannot hold. Default: only what every backend refuses. */
  readonly for?: ConfiguredName | (typeof BACKEND_NAMES)[number];
  /** Default true: what does not agree with the manifest is found. */
  readonly verifyManifest?: boolean;
  /** The unit of a document's times where it does not say: microseconds or seconds (docs/document-format.md). */
  readonly times?: "us" | "s";
  /** The record kinds. Default: llmspell's. */
  readonly catalog?: Catalog;
  /** Aborting ends it with E_INTERRUPTED, or with `signal.reason` where that is a StorageError. */
  readonly signal?: AbortSignal;
  /** Called once, when the document's head has been read. `estimate`: records per path, where its end tells. */
  readonly onStart?: (header: StoreHeader, estimate: ReadonlyMap<string, number> | undefined) => void;
  /** Called after each batch. */
  readonly onProgress?: (progress: Progress) => void;
  /** Called for each finding. They come as they are found: keys that occur twice and orphans after the others. */
  readonly onFinding?: (finding: Finding) => void | Promise<void>;
  readonly onWarning?: (message: string) => void;
}

export interface DocumentValidation {
  /** For messages. */
  readonly document: string;
  readonly for: ConfiguredName | undefined;
  /** Undefined where the document does not come to its data. */
  readonly header: StoreHeader | undefined;
  /** All that were read, bad ones too. */
  readonly records: number;
  /** In the catalog's order, those that have records. */
  readonly sections: readonly { readonly path: string; readonly records: number }[];
  readonly findings: number;
  /** By section and code, in the order of their lines. */
  readonly groups: readonly FindingGroup[];
  /** The finding at which an import into an empty store would stop. */
  readonly first: Finding | undefined;
  /** false: the document could not be read to its end; the last finding says where, and references were not checked. */
  readonly complete: boolean;
  readonly seconds: number;
}

/**
 * Reads a document (a file's name, a directory's, `-`, a location or a stream; twice where keys occur twice or references lead nowhere) in
 * constant memory. What is wrong with it is the result. Throws StorageError for all else (docs/errors.md).
 */
export async function validateDocument(
  document: string | StoreLocation | Readable,
  options: ValidateOptions = {},
): Promise<DocumentValidation> {
  refuseUnknownOptions("validateDocument", options);
  requireStore("validateDocument", document);
  const { catalog = standardCatalog, times, verifyManifest, onStart, onProgress } = options;
  const backend = backendOf(options.for);
  const location = locationOf(typeof document === "string" ? documentLocation(document) : document);
  const name = storeName(location);
  const signal = options.signal ?? new AbortController().signal;
  const started = performance.now();
  let records = 0;
  let bytes = 0;
  const byPath = new Map<string, number>();
  let tell: (error: StorageError) => Promise<void> = async () => {};
  const source = await createSource(location, {
    catalog,
    lines: true,
    onManifestError: (error) => tell(error),
    verifyManifest,
    times,
  });
  const { validate } = await import("../verify/validation/validate.js");
  try {
    const result = await validate(
      (onManifestError) => {
        tell = onManifestError;
        return source;
      },
      {
        catalog,
        backend,
        signal,
        onStart: (header, estimate) => onStart?.(header, estimate),
        onRecords(path, rows, size) {
          records += rows;
          bytes += size;
          const pathRecords = (byPath.get(path) ?? 0) + rows;
          byPath.set(path, pathRecords);
          onProgress?.({ phase: "rows", path, records, pathRecords, bytes });
        },
        onFinding: (finding) => options.onFinding?.(finding),
        onWarning: (message) => options.onWarning?.(message),
      },
    );
    const sections = catalog.kinds.flatMap(({ path }) => {
      const count = result.records.get(path) ?? 0;
      return count === 0 ? [] : [{ path, records: count }];
    });
    return {
      document: name,
      for: backend,
      ...result,
      records: sections.reduce((sum, section) => sum + section.records, 0),
      sections,
      seconds: (performance.now() - started) / 1000,
    };
  } catch (error) {
    if (!signal.aborted) throw error;
    if (signal.reason instanceof StorageError) throw signal.reason;
    throw new StorageError("E_INTERRUPTED", "the run was interrupted", {}, signal.reason);
  }
}

/** A location of a document. */
type DocumentStore = Extract<StoreLocation, { readonly type: "directory" | "document" | "stream" }>;

function backendOf(name: string | undefined): ConfiguredName | undefined {
  if (name === undefined) return undefined;
  const backend = parseBackendName(name);
  if (backend !== undefined) return backend;
  throw new StorageError("E_USAGE", `there is no backend ${JSON.stringify(name)}`, { hint: BACKEND_NAMES_HINT });
}

function locationOf(document: StoreLocation | Readable): DocumentStore {
  const location = "type" in document ? (document as StoreLocation) : streamLocation(document);
  if (databaseOf(location) === undefined) return location as DocumentStore;
  throw new StorageError("E_USAGE", "only documents are validated", {
    hint: "`llmspell storage info` (storeInfo) reads a database and says what an export of it would meet.",
  });
}
