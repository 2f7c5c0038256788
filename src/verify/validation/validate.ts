/** Finds all that an import of a document would refuse, without a database and in constant memory. */
import type { Catalog, RecordKind } from "../../catalog/index.js";
import { located } from "../../codecs/index.js";
import { idText, isIdText, uuidDigits, writeId } from "../../codecs/uuid.js";
import { StorageError } from "../../errors.js";
import { BatchEditor } from "../../records/batch-editor.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { recordKey } from "../../records/record-key.js";
import type { RunContext, Selection } from "../../records/run-context.js";
import type { Source, StoreHeader } from "../../sources/source.js";
import { RejectedKeys } from "../../transforms/referential/rejected-keys.js";
import { type Finding, type FindingGroup, Findings, isOfDocument } from "./findings.js";
import { Keys } from "./keys.js";
import { type Backend, createRecordChecks, type RecordChecks, type RowCheck } from "./record-check.js";

export interface ValidationOptions {
  readonly catalog: Catalog;
  /** Undefined: only what every backend refuses. */
  readonly backend: Backend | undefined;
  readonly signal: AbortSignal;
  readonly onStart: (header: StoreHeader, estimate: ReadonlyMap<string, number> | undefined) => void;
  /** Called after each batch of the first pass. */
  readonly onRecords: (path: string, records: number, bytes: number) => void;
  readonly onFinding: (finding: Finding) => void | Promise<void>;
  readonly onWarning: (message: string) => void;
}

export interface ValidationResult {
  readonly header: StoreHeader | undefined;
  /** Records of each kind, bad ones too, by path. */
  readonly records: ReadonlyMap<string, number>;
  readonly findings: number;
  readonly groups: readonly FindingGroup[];
  /** The finding at which an import would stop. */
  readonly first: Finding | undefined;
  /** The document could be read to its end; otherwise the last finding says where not, and references are not checked. */
  readonly complete: boolean;
}

/**
 * `open` gives the document, whose batches tell their lines, and which tells `onManifestError` what its manifest says
 * otherwise; it is read up to twice. Throws what is no fault of the document: E_INPUT_NOT_FOUND, E_DISK_FULL, E_IO,
 * E_INTERRUPTED.
 */
export async function validate(
  open: (onManifestError: (error: StorageError) => Promise<void>) => Source,
  options: ValidationOptions,
): Promise<ValidationResult> {
  const validation = new Validation(open, options);
  try {
    return await validation.run();
  } finally {
    await validation.close();
  }
}

/** Times of an import's steps within a batch; a batch takes four. */
const STEPS = 4;
const IDS = 1;
const VALUES = 2;
const SERVER = 3;
/** Orders the rows within a step. */
const ROWS = 1e6;
/** After everything else. */
const ORPHANS = 1e12;

class Validation {
  private readonly findings: Findings;
  private readonly keys: Keys;
  private readonly rejected: RejectedKeys;
  private readonly checks = new Map<RecordKind, RecordChecks>();
  private readonly editor = new BatchEditor();
  private readonly records = new Map<string, number>();
  private readonly selection: Selection;
  /** Batches so far. */
  private batches = 0;
  private header: StoreHeader | undefined;
  private readonly source: Source;
  private isAgain = false;

  constructor(
    open: (onManifestError: (error: StorageError) => Promise<void>) => Source,
    private readonly options: ValidationOptions,
  ) {
    this.source = open(async (error) => {
      if (!this.isAgain) await this.findings.add(error, "document", this.batches * STEPS);
    });
    this.findings = new Findings(options.onFinding);
    this.keys = new Keys(options.catalog);
    this.rejected = new RejectedKeys(options.catalog.parents);
    this.selection = { paths: new Set(options.catalog.kinds.map(({ path }) => path)) };
  }

  async run(): Promise<ValidationResult> {
    let failure: StorageError | undefined;
    try {
      await this.firstPass();
    } catch (error) {
      if (!isOfDocument(error)) throw error;
      failure = error;
    }
    const end = this.batches * STEPS;
    if (this.header !== undefined) await this.readAgain(failure === undefined);
    // The last: what the document holds behind it nobody knows.
    if (failure !== undefined) await this.findings.add(failure, "document", end);
    const { findings, records, header } = this;
    return {
      header,
      records,
      findings: findings.count,
      groups: findings.groups(),
      first: findings.first,
      complete: failure === undefined,
    };
  }

  async close(): Promise<void> {
    await this.source.close();
    await this.keys.close();
    await this.rejected.close();
  }

  private context(onReject: RunContext["reject"], isQuiet: boolean): RunContext {
    const warn = isQuiet ? () => {} : this.options.onWarning;
    return {
      signal: this.options.signal,
      reject: onReject,
      isRejected: (path, key) => this.rejected.has(path, key),
      warn,
      leftOut: warn,
    };
  }

  private async firstPass(): Promise<void> {
    const context = this.context(async ({ kind, error }) => {
      this.count(kind, 1);
      await this.refuse(kind, error, "reader", this.batches * STEPS);
    }, false);
    const { catalog: _catalog, ...header } = await this.source.open(context, this.selection);
    this.header = header;
    this.options.onStart(header, await this.source.estimate(this.selection));
    for await (const batch of this.source.read({ ...this.selection, again: true }, context)) {
      this.options.signal.throwIfAborted();
      await this.checkBatch(batch);
      await batch.large?.discard();
      this.batches++;
      this.count(batch.kind, batch.rows);
      this.options.onRecords(batch.kind.path, batch.rows, batch.byteLength);
    }
  }

  private count({ path }: RecordKind, rows: number): void {
    this.records.set(path, (this.records.get(path) ?? 0) + rows);
  }

  /** Also remembers the record, where others may refer to it. */
  private async refuse(kind: RecordKind, error: StorageError, finder: "reader" | "ids" | "target", time: number) {
    await this.findings.add(error, finder, time);
    await this.rejected.add(kind.path, `${error.context.key}`);
  }

  private checksOf(kind: RecordKind): RecordChecks {
    let checks = this.checks.get(kind);
    if (checks === undefined) {
      checks = createRecordChecks(kind, this.options.backend);
      this.checks.set(kind, checks);
    }
    return checks;
  }

  private async checkBatch(batch: RecordBatch): Promise<void> {
    const { kind } = batch;
    const { ids, values, server } = this.checksOf(kind);
    const normal = this.normalized(batch);
    const began = this.batches * STEPS;
    // What a server refuses it tells when the next batch is there.
    const judged = this.options.backend === "postgresql" ? began + STEPS + VALUES + 0.5 : began + SERVER;
    for (let row = 0; row < batch.rows; row++) {
      const at = row / ROWS;
      const badId = fault(ids, batch, row);
      const error = badId ?? fault(values, normal, row);
      const late = error ?? fault(server, normal, row);
      if (late === undefined) this.keys.add(normal, row);
      else if (badId !== undefined)
        await this.refuse(kind, this.placed(badId, batch, row, batch.lines), "ids", began + IDS + at);
      else {
        const time = error === undefined ? judged + at : began + VALUES + at;
        await this.refuse(kind, this.placed(late, normal, row, batch.lines), "target", time);
      }
    }
    await this.keys.settle(normal);
  }

  private placed(error: StorageError, batch: RecordBatch, row: number, lines: RecordBatch["lines"]): StorageError {
    const line = lines?.[row];
    const inFile = batch.file === undefined ? {} : { file: batch.file };
    const at = line === undefined ? inFile : { ...inFile, line };
    const where = { section: batch.kind.path, key: recordKey(batch, row), ...at };
    return located(error, where) as StorageError;
  }

  /** Collects the keys that are not in order, then names the records that have one of an earlier one, or no parents. */
  private async readAgain(whole: boolean): Promise<void> {
    const unordered = this.keys.unordered;
    if (unordered.size > 0) {
      await this.again(unordered, whole, async (batch) => {
        const normal = this.normalized(batch);
        for (let row = 0; row < batch.rows; row++) if (this.isSound(batch, normal, row)) this.keys.addKeys(normal, row);
        await this.keys.settleKeys(batch.kind);
      });
    }
    const paths = await this.keys.conclude(whole);
    const { importOrder } = this.options.catalog;
    if (paths.size > 0)
      await this.again(paths, whole, (batch) => this.nameRecords(batch, importOrder.indexOf(batch.kind)));
  }

  private async again(
    paths: ReadonlySet<string>,
    whole: boolean,
    take: (batch: RecordBatch) => Promise<void>,
  ): Promise<void> {
    const quiet = this.context(async () => {}, true);
    // Batches are the same as in the first pass.
    this.batches = 0;
    this.isAgain = true;
    try {
      for await (const batch of this.source.read({ ...this.selection, again: true }, quiet)) {
        this.options.signal.throwIfAborted();
        if (paths.has(batch.kind.path)) await take(batch);
        await batch.large?.discard();
        this.batches++;
      }
    } catch (error) {
      // It stops where it stopped before.
      if (whole || !isOfDocument(error)) throw error;
    }
  }

  private isSound(batch: RecordBatch, normal: RecordBatch, row: number): boolean {
    const { ids, values, server } = this.checksOf(batch.kind);
    return (fault(ids, batch, row) ?? fault(values, normal, row) ?? fault(server, normal, row)) === undefined;
  }

  private async nameRecords(batch: RecordBatch, order: number): Promise<void> {
    const { kind } = batch;
    const normal = this.normalized(batch);
    const conflictsAt =
      this.options.backend === "postgresql"
        ? this.batches * STEPS + STEPS + VALUES + 0.5
        : this.batches * STEPS + SERVER;
    for (let row = 0; row < batch.rows; row++) {
      if (!this.isSound(batch, normal, row)) continue;
      const conflict = this.keys.conflict(normal, row, recordKey(normal, row));
      if (conflict !== undefined) {
        const error = this.placed(conflict, normal, row, batch.lines);
        await this.findings.add(error, "target", conflictsAt + row / ROWS);
        continue;
      }
      const orphan = this.keys.orphan(normal, row, (path, key) => this.rejected.has(path, key));
      if (orphan === undefined) continue;
      const error = this.placed(orphan, normal, row, batch.lines);
      const time = ORPHANS + order * ORPHANS + this.batches + row / ROWS;
      await this.refuse(kind, error, "target", time);
    }
  }

  /** For PostgreSQL ids are UUIDs, however they are spelled: equal ones have equal bytes. The rows stay where they are. */
  private normalized(batch: RecordBatch): RecordBatch {
    if (this.options.backend !== "postgresql") return batch;
    const { kind, bytes, starts, lengths, width, rows } = batch;
    this.editor.begin(batch);
    for (const [index, field] of kind.fields.entries()) {
      if (field.type !== "uuid" || field.chosen !== true) continue;
      for (let row = 0, at = index; row < rows; row++, at += width) {
        const length = lengths[at] as number;
        if (length < 0 || !isIdText(length)) continue;
        const text = idText(bytes, starts[at] as number, length);
        if (uuidDigits(text) === undefined) continue;
        const from = this.editor.arena.length;
        writeId({ name: field.name, type: "uuid" }, text, this.editor.arena);
        this.editor.set(row, index, from);
      }
    }
    return this.editor.finish() as RecordBatch;
  }
}

/** What the check finds at the row. */
function fault(check: RowCheck | undefined, batch: RecordBatch, row: number): StorageError | undefined {
  try {
    check?.(batch, row);
    return undefined;
  } catch (error) {
    if (error instanceof StorageError) return error;
    throw error;
  }
}
