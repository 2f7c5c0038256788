/**
 * Reads a document front to back: its header, then its arrays in whatever order they come, then its manifest.
 * Over 300 lines: the order of a document's parts is kept in one place.
 */
import { type Catalog, locationOf, type RecordKind } from "../../catalog/index.js";
import { type ErrorCode, StorageError } from "../../errors.js";
import type { BatchLimits, RecordBatch } from "../../records/record-batch.js";
import type { RunContext, Selection } from "../../records/run-context.js";
import type { DocumentDialect } from "../dialect.js";
import { Spool } from "../files/spool.js";
import type { DocumentHeader } from "../header.js";
import { type ArrayDigest, manifestErrors } from "../manifest.js";
import { ArrayReader } from "./array-reader.js";
import { ByteWindow } from "./byte-window.js";
import type { ByteInput } from "./input.js";
import { JsonSyntaxError, OPEN_ARRAY, OPEN_OBJECT } from "./json-scanner.js";
import { JsonWalker } from "./json-walker.js";
import { shownName, UnknownNames } from "./limits.js";

/** What the header's keys hold; undefined until (or unless) they come. */
export type PartialHeader = { -readonly [K in keyof DocumentHeader]?: DocumentHeader[K] };

export interface ReadOptions {
  readonly catalog: Catalog;
  readonly selection: Selection;
  readonly dialect: DocumentDialect;
  /** In our writer's layout. */
  readonly ownLayout: boolean;
  /** The layout is our writer's: its manifest counts. */
  readonly verify: boolean;
  readonly limits: BatchLimits;
  readonly openSpool: () => Promise<Spool>;
  /** Batches tell the lines of their records (RecordBatch.lines). Default false. */
  readonly lines?: boolean;
  /** Told of all that the manifest says otherwise. Default: the first is thrown. */
  readonly onManifestError?: ((error: StorageError) => Promise<void>) | undefined;
  /** Told of each array that was read to its end, selected or not. */
  readonly onArray?: ((path: string, records: number) => void) | undefined;
  /** Default: a warning. */
  readonly onUnknownField?: (path: string, name: string) => void;
}

const STRUCTURE: ReadonlySet<ErrorCode> = new Set([
  "E_DOCUMENT_SHAPE",
  "E_DOCUMENT_VERSION",
  "E_DOCUMENT_DUPLICATE",
  "E_DOCUMENT_LIMIT",
  "E_DOCUMENT_TRAILING",
  "E_DOCUMENT_COMPRESSION",
]);

export class DocumentReader {
  readonly header: PartialHeader = {};
  /** `data` has come. */
  hasData = false;
  /** Why the document is not all that its source had, in its words; undefined while (or unless) it says so. */
  partial: string | undefined;
  /** Every key has been read, and nothing follows the document. */
  ended = false;
  private readonly window: ByteWindow;
  private readonly walker: JsonWalker;
  private readonly topKeys: AsyncGenerator<string, void, undefined>;
  /** As it was parsed; undefined before it has come. */
  manifest: unknown;
  private unknown: UnknownNames | undefined;
  /** The selected arrays that have been read, by path. */
  private readonly come = new Set<string>();
  private readonly found = new Map<string, ArrayDigest>();

  constructor(input: ByteInput) {
    this.window = new ByteWindow(input);
    this.walker = new JsonWalker(this.window);
    this.topKeys = this.walker.keys("the document");
  }

  /** Reads up to the value of `data`, or to the end where that does not come. */
  readHead(context: RunContext): Promise<void> {
    return this.located(async () => {
      await this.begin();
      for (;;) {
        const { value: key, done } = await this.topKeys.next();
        if (done) return this.end();
        if (key === "data") {
          this.hasData = true;
          return;
        }
        await this.readTopKey(key, context);
      }
    });
  }

  /** After readHead: skips `data`, strictly, and reads the header's other keys. */
  scanRest(context: RunContext): Promise<void> {
    return this.located(async () => {
      if (this.ended) return;
      await this.walker.skipValue();
      for await (const key of this.topKeys) await this.readTopKey(key, context);
      await this.end();
    });
  }

  /** After readHead: the paths of the catalog's arrays, in the order in which they come. What is in them is skipped, strictly. */
  scanOrder(catalog: Catalog): Promise<string[]> {
    return this.located(async () => {
      const { walker } = this;
      const order: string[] = [];
      if (!(await walker.enterObject("data"))) return order;
      for await (const section of walker.keys("data")) {
        const kinds = catalog.kinds.filter((kind) => locationOf(kind)[0] === section);
        const isObject = kinds.some((kind) => locationOf(kind).length > 1) && (await walker.need()) === OPEN_OBJECT;
        if (!isObject) {
          order.push(...kinds.map(({ path }) => path));
          await walker.skipValue();
          continue;
        }
        for await (const key of walker.keys(section)) {
          order.push(...kinds.flatMap((kind) => (locationOf(kind)[1] === key ? [kind.path] : [])));
          await walker.skipValue();
        }
      }
      return order;
    });
  }

  /**
   * After readHead: the rest of the header, as scanRest; and whether a record of these sections, the first of its array, has a
   * surrogate key.
   */
  async scanForSurrogates(catalog: Catalog, paths: ReadonlySet<string>, context: RunContext): Promise<boolean> {
    let found = false;
    const options: ReadOptions = {
      catalog,
      selection: { paths, limit: 1 },
      dialect: { legacy: false, times: "us" },
      ownLayout: false,
      verify: false,
      limits: { batchSize: 1 },
      openSpool: () => Spool.create(),
      onUnknownField: (path, name) => {
        const { sqlite } = catalog.byPath.get(path) as RecordKind;
        if (sqlite.layout === "table" && sqlite.surrogateKey === name) found = true;
      },
    };
    // What is wrong with a record, or not known, is told when it is read.
    const quiet: RunContext = { ...context, reject: async () => {}, warn: () => {} };
    for await (const _batch of this.readRecords(options, quiet));
    return found;
  }

  /** After readHead: the records, then the end and the manifest. */
  async *readRecords(options: ReadOptions, context: RunContext): AsyncGenerator<RecordBatch, void, undefined> {
    try {
      if (this.ended) return;
      yield* this.readData(options, context);
      if (this.foundAll(options)) return;
      for await (const key of this.topKeys) await this.readTopKey(key, context);
      await this.end();
      this.unknown?.finish();
      if (!options.verify) return;
      for (const error of manifestErrors(this.manifest, this.found)) {
        if (options.onManifestError === undefined) throw error;
        await options.onManifestError(error);
      }
    } catch (error) {
      throw this.atLine(error);
    }
  }

  /** The error with the line that it is at, where it is of the document's structure. */
  private atLine(error: unknown): unknown {
    if (error instanceof JsonSyntaxError) return this.window.parseError(error);
    if (error instanceof StorageError && STRUCTURE.has(error.code) && error.context.key === undefined)
      error.context.line ??= this.window.locate(this.window.position).line;
    return error;
  }

  private async located<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw this.atLine(error);
    }
  }

  private async begin(): Promise<void> {
    const { walker, window } = this;
    while (window.limit < 3 && !window.final) await window.more();
    // Some editors put a byte order mark before UTF-8; RFC 8259 lets a reader ignore it.
    if (window.limit >= 3 && window.buffer.readUIntBE(0, 3) === 0xefbbbf) window.position = 3;
    if ((await walker.need()) === OPEN_OBJECT) return;
    await walker.skipValue();
    throw new StorageError("E_DOCUMENT_SHAPE", "the document is no JSON object");
  }

  private async end(): Promise<void> {
    this.ended = true;
    if ((await this.walker.peek()) === -1) return;
    const { line, column } = this.window.locate(this.window.position);
    throw new StorageError("E_DOCUMENT_TRAILING", "something follows the document's end", {
      detail: `at line ${line} column ${column}`,
      hint: "Were two documents put into one file?",
    });
  }

  private async readTopKey(key: string, context: RunContext): Promise<void> {
    const { header, walker } = this;
    switch (key) {
      case "version": {
        const version = await walker.readValue();
        if (typeof version !== "string" || !/^1\.\d+$/.test(version)) throw unsupported(version);
        header.version = version;
        return;
      }
      case "exported_at": {
        const time = await walker.readValue();
        header.exportedAt = typeof time === "number" ? String(time) : requireString(key, time);
        return;
      }
      case "source_backend": {
        const backend = requireString(key, await walker.readValue());
        if (backend !== "sqlite" && backend !== "postgresql" && backend !== "postgres")
          throw new StorageError("E_DOCUMENT_SHAPE", 'source_backend is neither "sqlite" nor "postgresql"');
        header.sourceBackend = backend === "sqlite" ? "sqlite" : "postgresql";
        return;
      }
      case "producer": {
        const producer = await walker.readValue();
        if (producer !== null) header.producer = requireString(key, producer);
        return;
      }
      case "migrations": {
        const migrations = await walker.readValue();
        if (migrations !== null && !(Array.isArray(migrations) && migrations.every((name) => typeof name === "string")))
          throw new StorageError("E_DOCUMENT_SHAPE", "migrations is no array of strings");
        header.migrations = migrations ?? [];
        return;
      }
      case "manifest":
        this.manifest = await walker.readValue();
        return;
      case "partial": {
        const partial = await walker.readValue();
        // Whatever else another program means by it: nobody says that the document is whole.
        this.partial = Array.isArray(partial) ? partial.map((word) => shownName(`${word}`)).join(", ") : "?";
        return;
      }
      case "data":
        throw new StorageError("E_DOCUMENT_DUPLICATE", '"data" stands twice in the document');
      default:
        this.tellUnknown(`the document's key ${shownName(key)} is not known and was ignored`, context);
        await walker.skipValue();
    }
  }

  private async *readData(options: ReadOptions, context: RunContext): AsyncGenerator<RecordBatch, void, undefined> {
    const { walker } = this;
    if (!(await walker.enterObject("data"))) return;
    for await (const key of walker.keys("data")) {
      const kinds = options.catalog.kinds.filter((kind) => locationOf(kind)[0] === key);
      const [first] = kinds;
      if (first === undefined) await this.skipUnknown(key, options, context, true);
      else if (locationOf(first).length === 1) yield* this.readArray(first, options, context);
      else yield* this.readSection(key, kinds, options, context);
      if (this.foundAll(options)) return;
    }
  }

  /** A look ahead has seen what it was for. */
  private foundAll({ selection }: ReadOptions): boolean {
    return selection.peek === true && [...selection.paths].every((path) => this.come.has(path));
  }

  private async *readSection(
    section: string,
    kinds: readonly RecordKind[],
    options: ReadOptions,
    context: RunContext,
  ): AsyncGenerator<RecordBatch, void, undefined> {
    const { walker } = this;
    if (!(await walker.enterObject(section))) return;
    for await (const key of walker.keys(section)) {
      const kind = kinds.find((each) => locationOf(each)[1] === key);
      if (kind !== undefined) yield* this.readArray(kind, options, context);
      else await this.skipUnknown(`${section}.${key}`, options, context, false);
      if (this.foundAll(options)) return;
    }
  }

  private async *readArray(
    kind: RecordKind,
    options: ReadOptions,
    context: RunContext,
  ): AsyncGenerator<RecordBatch, void, undefined> {
    const { walker, window } = this;
    const { path } = kind;
    if ((await walker.need()) !== OPEN_ARRAY) {
      await walker.skipNull(`${path} is no array`);
      return;
    }
    if (options.verify) window.beginDigest();
    let records: number;
    this.come.add(path);
    if (options.selection.paths.has(path)) {
      const { tenants, limit, wanted } = options.selection;
      const array = new ArrayReader(
        walker,
        kind,
        {
          dialect: options.dialect,
          ownLayout: options.ownLayout,
          tenants: tenants === undefined ? undefined : new Set(tenants),
          recordLimit: wanted?.has(path) ? undefined : limit,
          limits: options.limits,
          lines: options.lines === true,
          onUnknownField: (name) => {
            if (options.onUnknownField !== undefined) options.onUnknownField(path, name);
            else this.tellUnknown(`${path}: the field ${shownName(name)} is not known and was ignored`, context);
          },
        },
        options.openSpool,
      );
      yield* array.read(context);
      records = array.elements;
    } else {
      records = await walker.skipValue();
    }
    if (options.verify) this.found.set(path, { records, sha256: window.endDigest() });
    options.onArray?.(path, records);
  }

  /** A section (or dimension) that the catalog has not; its arrays count in the manifest all the same. */
  private async skipUnknown(
    path: string,
    options: ReadOptions,
    context: RunContext,
    isSection: boolean,
  ): Promise<void> {
    this.tellUnknown(`the section ${shownName(path)} is not known and was ignored`, context);
    await this.skipDigested(path, options, isSection);
  }

  private tellUnknown(message: string, context: RunContext): void {
    this.unknown ??= new UnknownNames(context.warn);
    this.unknown.tell(message);
  }

  private async skipDigested(path: string, options: ReadOptions, isSection: boolean): Promise<void> {
    const { walker, window } = this;
    const first = await walker.need();
    if (first === OPEN_OBJECT && isSection) {
      for await (const key of walker.keys(path)) await this.skipDigested(`${path}.${key}`, options, false);
      return;
    }
    const digested = options.verify && first === OPEN_ARRAY;
    if (digested) window.beginDigest();
    const records = await walker.skipValue();
    if (digested) this.found.set(path, { records, sha256: window.endDigest() });
    if (first === OPEN_ARRAY) options.onArray?.(path, records);
  }
}

function requireString(key: string, value: unknown): string {
  if (typeof value !== "string") throw new StorageError("E_DOCUMENT_SHAPE", `${key} is no string`);
  return value;
}

function unsupported(version: unknown): StorageError {
  const said = typeof version === "string" && /^[\w.+-]{1,20}$/.test(version) ? `version ${version}` : "this version";
  return new StorageError("E_DOCUMENT_VERSION", `documents of ${said} are not supported`, {
    hint: 'Documents of version "1.0" and later 1.x are read.',
  });
}
