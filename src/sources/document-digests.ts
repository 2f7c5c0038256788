/**
 * The digests of what a document's records mean (`--digests`), which its manifest may have: a program that prints the document anew
 * does not change them, where it would make the manifest's other digests worthless. Records that are read are held against them.
 */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { StorageError } from "../errors.js";
import type { LargeValue, RecordBatch } from "../records/record-batch.js";
import type { RunContext, Selection } from "../records/run-context.js";

/** What makes the digests: `src/verify`'s, which whoever makes the source hands in. */
export interface MeaningDigests {
  /** Of this version are those that `of` gives. */
  readonly version: number;
  add(batch: RecordBatch): Promise<void> | undefined;
  observed(batch: RecordBatch): RecordBatch;
  settle(): Promise<void>;
  of(path: string): { readonly records: number; readonly digest: string } | undefined;
  close(): Promise<void>;
}

/** What a file's manifest is looked for in. Bytes. */
const TAIL_BYTES = 65536;

/** Whether the manifest, parsed or as text, has such digests. */
export function hasDigests(manifest: unknown): boolean {
  const text = typeof manifest === "string" ? manifest : (JSON.stringify(manifest) ?? "");
  return /"digest"\s*:\s*"\d+:[0-9a-f]{64}"/.test(text);
}

/** Whether a file may have them: only of one that is not compressed can that be denied. */
export function mayHaveDigests(path: string): boolean {
  const { size } = statSync(path);
  const file = openSync(path, "r");
  try {
    const head = Buffer.alloc(1);
    readSync(file, head, 0, 1, 0);
    if (![0x7b, 0x20, 0x0a, 0x0d, 0x09, 0xef].includes(head[0] as number)) return true;
    const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
    readSync(file, tail, 0, tail.length, size - tail.length);
    return hasDigests(tail.toString("latin1"));
  } finally {
    closeSync(file);
  }
}

/** All records of a section are read: else nothing can be said of it. */
export function readsAll({ peek, tenants, limit }: Selection): boolean {
  return peek === undefined && tenants === undefined && limit === undefined;
}

export class DigestCheck {
  private readonly given = new Map<string, number>();
  /** Whose records did not all come. */
  private readonly unclear = new Set<string>();

  constructor(private readonly digests: MeaningDigests) {}

  context(context: RunContext): RunContext {
    return {
      ...context,
      reject: (rejection) => {
        this.unclear.add(rejection.kind.path);
        return context.reject(rejection);
      },
    };
  }

  close(): Promise<void> {
    return this.digests.close();
  }

  /** The same batches. */
  async *seen(batches: AsyncIterable<RecordBatch>): AsyncGenerator<RecordBatch> {
    for await (const batch of batches) {
      const { path } = batch.kind;
      this.given.set(path, (this.given.get(path) ?? 0) + batch.rows);
      if (batch.large === undefined) {
        await this.digests.add(batch);
        yield batch;
      } else yield readWhole(this.digests.observed(batch));
    }
  }

  /**
   * When all has been read: an E_DOCUMENT_MANIFEST for each section of `paths` that does not mean what the manifest says. Gives
   * whether every section that came was held against a digest.
   */
  async *errors(manifest: unknown, paths: ReadonlySet<string>): AsyncGenerator<StorageError, boolean> {
    await this.digests.settle();
    const entries = new Map(
      Object.entries((manifest ?? {}) as Record<string, { readonly digest?: unknown } | undefined>),
    );
    let isWhole = true;
    for (const path of paths) {
      const expected = entries.get(path)?.digest;
      const count = this.given.get(path) ?? 0;
      if (typeof expected !== "string" || !expected.startsWith(`${this.digests.version}:`)) {
        isWhole &&= count === 0;
        continue;
      }
      const found = this.digests.of(path);
      // A content that nobody read to its end is in no digest.
      if (this.unclear.has(path) || (found?.records ?? 0) !== count) isWhole = false;
      else if (found?.digest !== expected) yield changed(path);
    }
    return isWhole;
  }
}

/** The batch, whose content is read to its end also where nobody wants it: its digest is one of the section's. */
function readWhole(batch: RecordBatch): RecordBatch {
  const { large } = batch;
  if (large === undefined) return batch;
  let isRead = false;
  const whole: LargeValue = {
    field: large.field,
    chunks() {
      isRead = true;
      return large.chunks();
    },
    async discard() {
      if (isRead) return large.discard();
      isRead = true;
      for await (const _chunk of large.chunks());
    },
  };
  return batch.withLarge(whole);
}

function changed(section: string): StorageError {
  return new StorageError(
    "E_DOCUMENT_MANIFEST",
    `${section} does not mean what was written: the digest of its records differs`,
    {
      section,
      hint: "jq before 1.7 rounds numbers beyond 2^53. Where records were changed on purpose, --no-verify-manifest reads it all the same.",
    },
  );
}
