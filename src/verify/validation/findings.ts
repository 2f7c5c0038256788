/** What is wrong with a document: counted by section and code, the first of each kept, all of them told. */
import { type ErrorCode, type ErrorContext, StorageError } from "../../errors.js";

/** One thing that is wrong. Holds no values but those that identify the record. */
export interface Finding {
  readonly code: ErrorCode;
  /** Undefined: the document as a whole. */
  readonly section: string | undefined;
  /** The record's key; undefined where it is of no record. */
  readonly key: string | undefined;
  readonly field: string | undefined;
  /** Of an export directory: the file that `line` is of. */
  readonly file?: string;
  /** From 1: where the record begins, or where the document could not be read on; undefined where no line is to blame. */
  readonly line: number | undefined;
  readonly message: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
}

/** The findings of one section and code. */
export interface FindingGroup {
  readonly section: string | undefined;
  readonly code: ErrorCode;
  readonly count: number;
  /** By its line. */
  readonly first: Finding;
}

/** Who would find it in an import: the reader, of the document or of a record; the check of ids; what writes the target. */
export type Finder = "document" | "reader" | "ids" | "target";

export class Findings {
  count = 0;
  private readonly byPlace = new Map<string, { count: number; first: Finding }>();
  private readonly earliest = new Map<Finder, { time: number; finding: Finding }>();

  constructor(private readonly onFinding: (finding: Finding) => void | Promise<void>) {}

  /** `time`: when an import would come to it, among those of one finder. */
  async add(error: StorageError, finder: Finder, time: number): Promise<void> {
    const { section, key, field, file, line, detail, hint }: ErrorContext = error.context;
    const finding: Finding = {
      code: error.code,
      section,
      key,
      field,
      ...(file === undefined ? {} : { file }),
      line,
      message: error.message,
      detail,
      hint,
    };
    this.count++;
    const place = `${section ?? ""} ${error.code}`;
    const known = this.byPlace.get(place);
    if (known === undefined) this.byPlace.set(place, { count: 1, first: finding });
    else {
      known.count++;
      if (line !== undefined && inOrder(finding, known.first) < 0) known.first = finding;
    }
    const before = this.earliest.get(finder);
    if (before === undefined || time < before.time) this.earliest.set(finder, { time, finding });
    await this.onFinding(finding);
  }

  /**
   * The one at which an import would stop. A bad id does not end it at once: what the document holds behind it is read, to
   * count such ids, and where it cannot be read on, that is told.
   */
  get first(): Finding | undefined {
    const records = (["reader", "ids", "target"] as const)
      .flatMap((finder) => {
        const found = this.earliest.get(finder);
        return found === undefined ? [] : [{ finder, ...found }];
      })
      .sort((one, other) => one.time - other.time)[0];
    const document = this.earliest.get("document");
    if (document === undefined) return records?.finding;
    if (records === undefined || document.time < records.time) return document.finding;
    // What the reader refuses behind a bad id ends the run with that.
    const isReadOn = records.finder === "ids" && !this.earliest.has("reader");
    return (isReadOn ? document : records).finding;
  }

  /** In the order of their files and lines; those of no line last. */
  groups(): FindingGroup[] {
    return [...this.byPlace.values()]
      .map(({ count, first }) => ({ section: first.section, code: first.code, count, first }))
      .sort((one, other) => inOrder(one.first, other.first));
  }
}

/** Files are read in the order of their names. */
function inOrder(one: Finding, other: Finding): number {
  if (one.file !== other.file && one.line !== undefined && other.line !== undefined)
    return (one.file ?? "") < (other.file ?? "") ? -1 : 1;
  return (one.line ?? Number.POSITIVE_INFINITY) - (other.line ?? Number.POSITIVE_INFINITY) || 0;
}

export function isOfDocument(error: unknown): error is StorageError {
  // 4: the document; everything else (a full disk, an interruption) says nothing about it.
  return error instanceof StorageError && error.exitStatus === 4;
}
