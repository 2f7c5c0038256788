/**
 * The export directory as a source: its files one after the other, as its manifest names them.
 * Over 300 lines: what a directory is, and what of it is read.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Catalog } from "../catalog/index.js";
import { requireComplete } from "../document/directory/layout.js";
import {
  type DirectoryFile,
  type DirectoryManifest,
  directoryBroken,
  sectionsOfFiles,
} from "../document/directory/manifest.js";
import { documentHead } from "../document/files/output.js";
import { printHead, tellsPartial } from "../document/header.js";
import { shownName } from "../document/reading/limits.js";
import { StorageError } from "../errors.js";
import { firstKinds } from "../records/first-kinds.js";
import { RecordBatch } from "../records/record-batch.js";
import type { RunContext, Selection } from "../records/run-context.js";
import { isAsWritten } from "./directory-check.js";
import { DigestCheck, hasDigests, readsAll } from "./document-digests.js";
import { createDocumentSource, type DocumentSourceOptions, ISO_TIME, warnOfReserialised } from "./json-document.js";
import type { PartedSource, Source, StoreHeader } from "./source.js";

export interface DirectorySourceOptions extends Omit<DocumentSourceOptions, "input" | "snapshot"> {
  /** The folder. */
  readonly path: string;
  /** Only these of its files, by their names: a share of one who reads it with others. Default: all. */
  readonly files?: readonly string[];
  /** Another source of the directory has found this manifest: what it names is read (PartedSource.share). */
  readonly snapshot?: DirectorySnapshot | undefined;
}

/** What a directory is, for sources in other threads. */
export interface DirectorySnapshot {
  readonly manifest: DirectoryManifest;
}

/** Part.rows: one of its files. */
interface PartFile {
  readonly file: string;
}

/** For a look at a file that is read again: what there is to say is said then. */
const SILENT: Omit<RunContext, "signal"> = {
  async reject({ error }) {
    throw error;
  },
  isRejected: () => false,
  warn: () => {},
  leftOut: () => {},
};

/** E_INPUT_NOT_FOUND, E_DOCUMENT_*, E_INVALID_UTF8, E_DISK_FULL (temporary files); with the file that they are of. */
export function createDirectorySource(options: DirectorySourceOptions): Source {
  const { path: folder, catalog } = options;
  const wanted = options.files === undefined ? undefined : new Set(options.files);
  const verifies = options.verifyManifest ?? true;
  let manifest: DirectoryManifest | undefined;
  /** Files are of one section each, and nothing is held against all of them. */
  let isCut = false;
  let hasOpened = false;
  let order: StoreHeader["order"];
  let open: Source | undefined;
  /** What the records mean is held against the manifest. */
  let isHeld = false;
  let isPrintedAnew = false;
  let hasWarned = false;

  function warnOnce(context: RunContext): void {
    if (hasWarned) return;
    hasWarned = true;
    warnOfReserialised(context);
  }

  async function* readFile(
    file: DirectoryFile,
    { header }: DirectoryManifest,
    selection: Selection,
    context: RunContext,
  ): AsyncGenerator<RecordBatch> {
    const hash = verifies && selection.peek === undefined ? createHash("sha256") : undefined;
    const arrays = new Map<string, number>();
    let bytes = 0;
    const source = createDocumentSource({
      ...options,
      snapshot: undefined,
      input: { path: join(folder, file.name) },
      // The file's own digest is of more than its manifest's, and costs less where it is compressed.
      verifyManifest: false,
      onReserialised(run) {
        isPrintedAnew = true;
        if (!isHeld) warnOnce(run);
      },
      onBytes(chunk) {
        bytes += chunk.length;
        hash?.update(chunk);
      },
      onHead(head) {
        if (verifies && printHead(head) !== printHead(header)) throw notOfThis(file);
      },
      onArray: (path, records) => void arrays.set(path, records),
    });
    open = source;
    try {
      await source.open(context);
      for await (const batch of source.read(selection, context))
        yield options.lines === true ? inFile(batch, file.name) : batch;
      order ??= source.order?.();
      if (hash === undefined) return;
      for (const error of differences(file, bytes, hash.digest("hex"), arrays)) {
        if (options.onManifestError === undefined) throw error;
        await options.onManifestError(error);
      }
    } finally {
      open = undefined;
      await source.close();
    }
  }

  /** Where another program has printed a file anew, or it is asked for. */
  async function checkFor(
    selection: Selection,
    files: readonly DirectoryFile[],
    { sections, header }: DirectoryManifest,
  ): Promise<DigestCheck | undefined> {
    const { digests, checkDigests = false } = options;
    if (!verifies || digests === undefined || !readsAll(selection) || !hasDigests(Object.fromEntries(sections)))
      return undefined;
    return checkDigests || (await isAnyPrintedAnew(folder, files, header)) ? new DigestCheck(digests()) : undefined;
  }

  /** Those that have records of the selection. */
  function filesFor(selection: Selection, { files }: DirectoryManifest): readonly DirectoryFile[] {
    if (!verifies) return files;
    const paths = selection.checked ?? selection.paths;
    // One that has sections that nobody knows is read: that tells of them.
    return files.filter(({ sections }) => {
      const said = [...sections.keys()];
      return said.some((path) => paths.has(path)) || !said.every((path) => catalog.byPath.has(path));
    });
  }

  async function* readFiles(
    files: readonly DirectoryFile[],
    of: DirectoryManifest,
    selection: Selection,
    context: RunContext,
  ): AsyncGenerator<RecordBatch> {
    const { signal } = context;
    const isOnlyChecked = verifies && !isHeld && selection.paths.size === 0 && selection.checked !== undefined;
    for (const file of files) {
      if (isOnlyChecked && (await isAsWritten(join(folder, file.name), file, printHead(of.header), signal))) continue;
      const paths = new Set([...file.sections.keys()].filter((path) => selection.paths.has(path)));
      const share = verifies ? { ...selection, paths } : selection;
      try {
        yield* readFile(file, of, share, withFile(context, file.name));
      } catch (error) {
        throw inFileOf(error, file.name);
      }
    }
  }

  /** Opens a file for a look at what is read again. */
  async function look<Seen>(
    file: DirectoryFile,
    context: RunContext,
    see: (source: Source, header: StoreHeader) => Promise<Seen>,
  ): Promise<Seen> {
    const source = createDocumentSource({
      ...options,
      snapshot: undefined,
      input: { path: join(folder, file.name) },
      verifyManifest: false,
    });
    try {
      return await see(source, await source.open(context));
    } catch (error) {
      throw inFileOf(error, file.name);
    } finally {
      await source.close();
    }
  }

  /** The sections that have records in a file, as they come there. */
  async function orderIn(file: DirectoryFile, wanted: Catalog, signal: AbortSignal): Promise<readonly string[]> {
    const said = wanted.kinds.flatMap(({ path }) => (file.sections.has(path) ? [path] : []));
    const filled = said.filter((path) => file.sections.get(path)?.records !== 0);
    if (verifies && filled.length < 2) return filled;
    return look(file, { ...SILENT, signal }, async (source) => (await source.sectionOrder?.(wanted, signal)) ?? said);
  }

  /** The section that a file is of; undefined where it is of several, or of one that nobody knows. */
  function sectionOf({ sections }: DirectoryFile): string | undefined {
    const filled = [...sections].filter(([, { records }]) => records > 0).map(([path]) => path);
    const [path] = filled.length === 0 ? [...sections.keys()] : filled;
    return filled.length < 2 && path !== undefined && catalog.byPath.has(path) ? path : undefined;
  }

  const inParts: PartedSource = {
    whole: [],
    get single() {
      return isCut ? undefined : "its files are read one after the other";
    },
    async share(openOthers) {
      if (manifest === undefined) throw new Error("the source is not open");
      await openOthers({ manifest });
    },
    came(facts) {
      order ??= facts.order;
    },
    async *plan(selection) {
      if (manifest === undefined) throw new Error("the source is not open");
      if (!isCut) yield { path: "" };
      else
        for (const file of filesFor(selection, manifest))
          yield { path: sectionOf(file) as string, rows: { file: file.name } satisfies PartFile };
    },
  };

  return {
    name: options.name ?? folder,

    get inParts() {
      return hasOpened ? inParts : undefined;
    },

    async sectionOrder(wanted, signal) {
      const order: string[] = [];
      for (const file of manifest?.files ?? []) {
        signal.throwIfAborted();
        for (const path of await orderIn(file, wanted, signal)) if (order.at(-1) !== path) order.push(path);
      }
      const isEachOnce = new Set(order).size === order.length;
      // Backwards each waits for the last: nothing is said of when the others end.
      return isEachOnce ? order : wanted.kinds.map(({ path }) => path).toReversed();
    },

    async open(context, selection) {
      const complete = options.snapshot?.manifest ?? (await requireComplete(folder, verifies));
      const files = wanted === undefined ? complete.files : complete.files.filter(({ name }) => wanted.has(name));
      // A digest is of all files.
      manifest = wanted === undefined ? complete : { ...complete, files, sections: sectionsOfFiles(files) };
      if (selection !== undefined && options.snapshot === undefined) {
        const read = filesFor(selection, manifest);
        isCut =
          verifies &&
          read.every((file) => sectionOf(file) !== undefined) &&
          (await checkFor(selection, read, manifest)) === undefined;
      }
      const [first] = manifest.files.filter(({ sections }) =>
        [...sections.values()].some(({ records }) => records > 0),
      );
      if (options.tellsOrder === true && first !== undefined)
        order = await look(first, { ...SILENT, signal: context.signal }, async (_, head) => head.order);
      hasOpened = true;
      const { sourceBackend: backend, migrations, exportedAt } = manifest.header;
      return {
        backend,
        migrations,
        catalog,
        ...(order === undefined ? {} : { order }),
        ...(ISO_TIME.test(exportedAt) ? { exportedAt } : {}),
      };
    },

    async estimate({ paths }) {
      const sections = [...(manifest?.sections ?? [])].filter(([path]) => paths.has(path));
      return new Map(sections.map(([path, { records }]) => [path, records]));
    },

    order: () => order,

    partial() {
      const { partial, header } = manifest ?? {};
      if (wanted !== undefined) return "only some of its files are read";
      if (partial === undefined) return "its manifest does not say that it is whole";
      if (partial.length > 0) return `it was exported without all records (${partial.map(shownName).join(", ")})`;
      if (!tellsPartial(header?.producer)) return `its producer, ${header?.producer}, does not say so of its documents`;
      return verifies ? undefined : "its manifest is not checked";
    },

    async *read(selection, context) {
      if (manifest === undefined) throw new StorageError("E_UNEXPECTED", "the source is not open");
      const { file: name } = (selection.part?.rows as PartFile | undefined) ?? {};
      const files = filesFor(selection, manifest).filter((file) => name === undefined || file.name === name);
      const check = name === undefined ? await checkFor(selection, files, manifest) : undefined;
      isHeld = check !== undefined;
      const inOrder = isCut ? firstKinds(files, selection.first, sectionOf) : files;
      const paths = (check && selection.checked) ?? selection.paths;
      const batches = readFiles(inOrder, manifest, { ...selection, paths }, check?.context(context) ?? context);
      if (check === undefined) {
        yield* batches;
        return;
      }
      try {
        yield* check.seen(batches);
        const errors = check.errors(Object.fromEntries(manifest.sections), paths);
        let { done, value } = await errors.next();
        for (; done !== true; { done, value } = await errors.next()) {
          if (options.onManifestError === undefined) throw value;
          await options.onManifestError(value as StorageError);
        }
        if (value === false && isPrintedAnew) warnOnce(context);
      } finally {
        await check.close();
      }
    },

    async close() {
      await open?.close();
    },
  };
}

/** Whether another program has printed one of them anew. What cannot be read is for whoever reads it to say. */
async function isAnyPrintedAnew(
  folder: string,
  files: readonly DirectoryFile[],
  header: DirectoryManifest["header"],
): Promise<boolean> {
  const head = printHead(header);
  for (const { name } of files) {
    const found = await documentHead(join(folder, name));
    if (found === undefined) continue;
    const text = Buffer.from(found, "latin1").toString("utf8");
    if (!text.startsWith(head) && !head.startsWith(text)) return true;
  }
  return false;
}

function notOfThis({ name }: DirectoryFile): StorageError {
  return directoryBroken(
    `${name} is of another export, or was changed: its head is not the one that the manifest has`,
    {
      file: name,
    },
  );
}

function* differences(
  { name, bytes, sha256, sections }: DirectoryFile,
  foundBytes: number,
  foundSha256: string,
  arrays: ReadonlyMap<string, number>,
): Generator<StorageError, void, undefined> {
  if (foundBytes !== bytes || foundSha256 !== sha256) {
    yield directoryBroken(`${name} is not what was written: its digest differs`, { file: name });
    return;
  }
  for (const path of new Set([...sections.keys(), ...arrays.keys()])) {
    const [records, said] = [arrays.get(path) ?? 0, sections.get(path)?.records ?? 0];
    if (records !== said)
      yield directoryBroken(`${path} has ${records} records in ${name}, the directory's manifest says ${said}`, {
        file: name,
        section: path,
      });
  }
}

/** The file that an error comes from; only an error of the document has one. */
function inFileOf(error: unknown, file: string): unknown {
  if (!(error instanceof StorageError)) return error;
  // It was there when the run began.
  const isGone =
    error.code === "E_INPUT_NOT_FOUND" && (error.cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT";
  if (isGone) return directoryBroken(`${file} is missing`, { file }, error);
  if (error.exitStatus === 4) error.context.file ??= file;
  return error;
}

function withFile(context: RunContext, file: string): RunContext {
  return {
    ...context,
    reject(rejection) {
      rejection.error.context.file ??= file;
      return context.reject(rejection);
    },
  };
}

function inFile(batch: RecordBatch, file: string): RecordBatch {
  const { kind, rows, bytes, starts, lengths, large, assumed, lines } = batch;
  return new RecordBatch(kind, rows, bytes, starts, lengths, large, assumed, lines, file);
}
