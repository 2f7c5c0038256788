/**
 * Writes one file of an export directory: a document of its own. Whoever has a place for it needs nothing else, so that several
 * can be written side by side; their entries go to the one manifest.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import type { Catalog } from "../../catalog/index.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { ByteOutput } from "../files/output.js";
import { SyncedFile } from "../files/synced-file.js";
import { writeError } from "../files/write-error.js";
import type { DocumentHeader } from "../header.js";
import { type Compression, compressed } from "../writing/compression.js";
import { DocumentWriter } from "../writing/document-writer.js";
import type { DirectoryFile } from "./manifest.js";

/** What such a document says of itself: on its own it is a part. */
export const PART_REASON = "part";

/** Plain data. */
export interface PartPlace {
  readonly path: string;
  readonly name: string;
  readonly compression: Compression;
}

export interface PartForm {
  readonly catalog: Catalog;
  readonly header: DocumentHeader;
  readonly vectors?: "base64" | "json" | undefined;
  readonly order?: "table" | undefined;
}

export class PartWriter {
  private readonly output: ByteOutput;
  private readonly writer: DocumentWriter;

  private constructor(
    private readonly place: PartPlace,
    private readonly file: PartFile,
    { catalog, header, vectors, order }: PartForm,
  ) {
    this.output = compressed(file, place.compression);
    this.writer = new DocumentWriter(this.output, catalog, header, vectors, undefined, order);
  }

  /** E_DISK_FULL, E_IO. */
  static async create(place: PartPlace, form: PartForm): Promise<PartWriter> {
    return new PartWriter(place, await PartFile.create(place.path), form);
  }

  /** Kinds come in the catalog's order. */
  write(batch: RecordBatch): Promise<void> {
    return this.writer.write(batch);
  }

  /** Completes the file, which is on the disk then. */
  async finish(): Promise<{ readonly entry: DirectoryFile; readonly documentBytes: number }> {
    const { writer, file } = this;
    await writer.end([PART_REASON]);
    await this.output.finish();
    const entry = { name: this.place.name, bytes: file.bytes, sha256: file.sha256, sections: writer.arrays };
    return { entry, documentBytes: writer.bytes };
  }

  /** Removes the file; idempotent; never throws. */
  abort(): Promise<void> {
    return this.output.abort();
  }
}

class PartFile implements ByteOutput {
  bytes = 0;
  sha256 = "";
  private readonly hash = createHash("sha256");
  private readonly file: SyncedFile;

  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
  ) {
    this.file = new SyncedFile(handle);
  }

  static async create(path: string): Promise<PartFile> {
    try {
      return new PartFile(path, await open(path, "wx", 0o600));
    } catch (error) {
      throw writeError(error);
    }
  }

  async write(bytes: Buffer): Promise<void> {
    this.hash.update(bytes);
    this.bytes += bytes.length;
    await this.file.write(bytes);
  }

  async finish(): Promise<void> {
    try {
      await this.file.sync();
      await this.handle.close();
    } catch (error) {
      throw writeError(error);
    }
    this.sha256 = this.hash.digest("hex");
  }

  async abort(): Promise<void> {
    await this.file.settle();
    await this.handle.close().catch(() => undefined);
    await rm(this.path, { force: true }).catch(() => undefined);
  }
}
