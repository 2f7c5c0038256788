/** The stores that the conformance suites run against: real files, a real server. */
import { mkdtempSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BatchLimits } from "../../src/records/record-batch.js";
import type { PruneScope, TargetScope } from "../../src/records/run-context.js";
import type { Sink } from "../../src/sinks/sink.js";
import type { Source } from "../../src/sources/source.js";

export interface LoadOptions {
  readonly onConflict?: "update" | "skip" | "error";
  readonly onOrphan?: "error" | "drop";
  readonly dryRun?: boolean;
  readonly prune?: PruneScope;
  readonly requireEmpty?: TargetScope;
}

/** One store of a test's own. */
export interface TestStore {
  /** Of a server's database. */
  readonly url?: string;
  source(limits?: BatchLimits): Source;
  sink(options?: LoadOptions): Sink;
  /** Removes every record; the schema stays. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

export interface StoreFactory {
  readonly name: string;
  /** Keeps records from one run to the next, orders them, knows keys: everything but a document. */
  readonly database: boolean;
  /** Its sink removes what a run does not bring, where it is told to (DatabaseParts.prunes). */
  readonly prunes?: true;
  open(): Promise<TestStore>;
}

const MEMORY = "/dev/shm";
const GIB = 2 ** 30;

/** In memory where the machine has room there: thousands of small databases are made, and none need outlive the run. */
export function temporaryFolder(): string {
  return mkdtempSync(join(hasRoom(MEMORY) ? MEMORY : tmpdir(), "llmspell-store-"));
}

function hasRoom(folder: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize >= GIB;
  } catch {
    return false;
  }
}
