/** Parts on their way into a plan, as they are planned: in batches, and no part of a section before that was begun. */
import type { Part } from "../../../../records/parts.js";
import type { PlannedPart } from "./plan-ledger.js";

/** So many parts are written at once; fewer where planning them takes long, for workers wait for them. */
const BATCH = 1000;
const BATCH_MILLISECONDS = 300;
/** A table of so many parts is large enough to be without its indexes meanwhile. */
export const MANY_PARTS = 2;

export interface PartWriting {
  /** The number of the last part that is there already. */
  readonly behind: number;
  readonly signal: AbortSignal;
  /** Whose parts come from now on; undefined: no more come. All those before are written. */
  onSection(section: string | undefined): void;
  /** Before the first of a section's parts is written, of which there are so many, or MANY_PARTS at least. */
  begin(section: string, parts: number): Promise<void>;
  add(parts: readonly PlannedPart[]): Promise<void>;
}

/** Writes the parts, those of a section one behind the other. */
export async function writeParts(
  parts: AsyncIterable<Part>,
  { behind, signal, onSection, begin, add }: PartWriting,
): Promise<void> {
  let number = behind;
  let waiting: PlannedPart[] = [];
  let written = performance.now();
  let section: string | undefined;
  let count = 0;
  let isBegun = false;
  const write = async (): Promise<void> => {
    if (section !== undefined && !isBegun) await begin(section, count);
    isBegun = true;
    const batch = waiting;
    waiting = [];
    if (batch.length > 0) await add(batch);
    written = performance.now();
  };
  for await (const { path, rows } of parts) {
    signal.throwIfAborted();
    if (path !== section) {
      await write();
      onSection(path);
      [section, count, isBegun] = [path, 0, false];
    }
    waiting.push({ part: ++number, section: path, bounds: rows === undefined ? "" : JSON.stringify(rows) });
    count++;
    const isDue = waiting.length >= BATCH || performance.now() - written > BATCH_MILLISECONDS;
    if (count === MANY_PARTS || (isBegun && isDue)) await write();
  }
  await write();
  onSection(undefined);
}
