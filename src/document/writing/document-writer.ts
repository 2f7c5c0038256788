/** Writes a document: head, one record per line, manifest. Layout: docs/document-format.md. */
import { createHash, type Hash } from "node:crypto";
import { type Catalog, locationOf, type RecordKind } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { StorageError } from "../../errors.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { ByteOutput } from "../files/output.js";
import { type DocumentHeader, printHead } from "../header.js";
import type { ArrayDigest } from "../manifest.js";
import { recordPieces, writeRecord } from "./record-writer.js";

/** Bytes per write; one system call per record would cost more than making the record. */
const FLUSH_BYTES = 262144;

/** `knowledge_graph` of `knowledge_graph.entities`; undefined for a kind that is a section of its own. */
function sectionOf(kind: RecordKind): string | undefined {
  const location = locationOf(kind);
  return location.length === 1 ? undefined : location[0];
}

/** A section of dimensions holds those that have records; every other section holds all its arrays or none. */
function isDimension(kind: RecordKind): boolean {
  return kind.sqlite.layout === "vector";
}

/** Records as text: see RecordText of the sinks. */
interface WrittenText {
  readonly kind: RecordKind;
  readonly bytes: Buffer;
  readonly records: number;
  readonly continues: boolean;
}

export class DocumentWriter {
  /** Bytes written so far. */
  bytes = 0;
  /** Records written so far, by path. */
  readonly records = new Map<string, number>();
  /** Of the arrays that are complete, by path: what the manifest will say. */
  readonly arrays = new Map<string, ArrayDigest>();

  private out = new ByteWriter(FLUSH_BYTES * 2);
  /** The other buffer, and the write that still uses it. */
  private spare = new ByteWriter(FLUSH_BYTES * 2);
  private writing: Promise<void> = Promise.resolve();

  private readonly manifest: [path: string, entry: object][] = [];
  private total = 0;
  /** Index in the catalog of the array that is open, or was last. */
  private current = -1;
  private arrayOpen = false;
  private openSection: string | undefined;
  private firstInData = true;
  private firstInSection = true;
  /** No text was appended to the open array. */
  private isArrayEmpty = true;
  private digest: Hash = createHash("sha256");
  private digestedTo = 0;

  constructor(
    private readonly output: ByteOutput,
    private readonly catalog: Catalog,
    header: DocumentHeader,
    private readonly vectors: "base64" | "json" = "base64",
    private readonly digestOf: (path: string) => string | undefined = () => undefined,
    /** "table": not by the keys, which the manifest says. */
    private readonly order?: "table",
  ) {
    this.out.utf8(printHead(header));
  }

  /** Appends the batch's records. Kinds come in the catalog's order: E_USAGE. */
  async write(batch: RecordBatch): Promise<void> {
    await this.openArray(batch.kind);
    const path = batch.kind.path;
    const before = this.records.get(path) ?? 0;
    for (let row = 0; row < batch.rows; row++) {
      this.out.latin1(before + row === 0 ? "\n" : ",\n");
      if (batch.large === undefined) writeRecord(batch, row, this.out, this.vectors);
      else await this.writeChunks(batch, row);
      if (this.out.length >= FLUSH_BYTES) await this.flush();
    }
    this.records.set(path, before + batch.rows);
    this.total += batch.rows;
  }

  /** Appends records that are text already: the bytes as they are, with the separator before them where they do not go on. */
  async writeText(text: WrittenText): Promise<void> {
    const { kind, bytes, records, continues } = text;
    await this.openArray(kind);
    const before = this.records.get(kind.path) ?? 0;
    if (!continues) this.out.latin1(this.isArrayEmpty ? "\n" : ",\n");
    this.isArrayEmpty = false;
    if (this.out.length > 0) await this.flush();
    await this.writing;
    // Hashed while the thread pool writes.
    this.writing = this.output.write(bytes);
    this.writing.catch(() => undefined);
    this.digest.update(bytes);
    this.bytes += bytes.length;
    this.records.set(kind.path, before + records);
    this.total += records;
    await this.writing;
  }

  /** Completes the document and waits until all of it is written. `partial`: why it is not all that its source has. `order`: where it was not known before. */
  async end(partial: readonly string[] = [], order = this.order): Promise<void> {
    this.closeArray();
    this.writeEmptyArrays(this.catalog.kinds.length);
    this.closeSection();
    this.out.latin1("\n},\n");
    if (partial.length > 0) this.out.utf8(`"partial":${JSON.stringify(partial)},\n`);
    this.out.latin1('"manifest":{');
    for (const [path, entry] of this.manifest)
      this.out.utf8(`\n${JSON.stringify(path)}:${JSON.stringify(order === undefined ? entry : { ...entry, order })},`);
    this.out.latin1(`\n"total":${this.total}\n}\n}\n`);
    await this.flush();
    await this.writing;
  }

  private async writeChunks(batch: RecordBatch, row: number): Promise<void> {
    for await (const chunk of recordPieces(batch, row)) {
      for (let at = 0; at < chunk.length; at += FLUSH_BYTES) {
        this.out.copy(chunk, at, Math.min(chunk.length, at + FLUSH_BYTES));
        if (this.out.length >= FLUSH_BYTES) await this.flush();
      }
    }
  }

  private async openArray(kind: RecordKind): Promise<void> {
    const index = this.catalog.kinds.indexOf(kind);
    if (index === this.current && this.arrayOpen) return;
    if (index <= this.current) {
      const last = this.catalog.kinds[this.current]?.path;
      throw new StorageError("E_USAGE", `a document holds ${kind.path} before ${last}, but they came the other way`, {
        section: kind.path,
        hint: "Import the document into a database, and export that.",
      });
    }
    this.closeArray();
    this.writeEmptyArrays(index);
    this.beginArray(kind, index);
  }

  /** The arrays before `index` that came without records, but whose section has (or will have) some. */
  private writeEmptyArrays(index: number): void {
    const next = this.catalog.kinds[index];
    for (let i = this.current + 1; i < index; i++) {
      const kind = this.catalog.kinds[i] as RecordKind;
      const section = sectionOf(kind);
      if (section === undefined || isDimension(kind)) continue;
      if (section !== this.openSection && (next === undefined || section !== sectionOf(next))) continue;
      this.beginArray(kind, i);
      this.closeArray();
    }
  }

  private beginArray(kind: RecordKind, index: number): void {
    const section = sectionOf(kind);
    if (section === undefined || section !== this.openSection) {
      this.closeSection();
      this.separate(this.firstInData);
      this.firstInData = false;
      if (section !== undefined) {
        this.out.utf8(`${JSON.stringify(section)}:{`);
        this.openSection = section;
        this.firstInSection = true;
      }
    }
    if (section !== undefined) {
      this.separate(this.firstInSection);
      this.firstInSection = false;
    }
    this.out.utf8(`${JSON.stringify(locationOf(kind).at(-1))}:`);
    this.digest = createHash("sha256");
    this.digestedTo = this.out.length;
    this.out.latin1("[");
    this.isArrayEmpty = true;
    this.arrayOpen = true;
    this.current = index;
  }

  private separate(first: boolean): void {
    this.out.latin1(first ? "\n" : ",\n");
  }

  private closeArray(): void {
    if (!this.arrayOpen) return;
    this.arrayOpen = false;
    this.out.latin1("\n]");
    this.digest.update(this.out.bytes.subarray(this.digestedTo, this.out.length));
    const { path } = this.catalog.kinds[this.current] as RecordKind;
    const digest = this.digestOf(path);
    const array = { records: this.records.get(path) ?? 0, sha256: this.digest.digest("hex") };
    this.arrays.set(path, array);
    this.manifest.push([path, digest === undefined ? array : { ...array, digest }]);
  }

  private closeSection(): void {
    if (this.openSection === undefined) return;
    this.openSection = undefined;
    this.out.latin1("\n}");
  }

  /** Hands the buffer to the output and goes on in the other one, which is free when the write before has ended. */
  private async flush(): Promise<void> {
    const full = this.out;
    if (this.arrayOpen) this.digest.update(full.bytes.subarray(this.digestedTo, full.length));
    this.bytes += full.length;
    await this.writing;
    this.writing = this.output.write(full.view());
    // Its failure is thrown by the next flush; until then it must not count as unhandled.
    this.writing.catch(() => undefined);
    this.out = this.spare;
    this.out.length = 0;
    this.digestedTo = 0;
    this.spare = full;
  }
}
