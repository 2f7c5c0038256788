/** Gives the parts of a run to its threads, as they are planned, and knows in which order they come. */
import type { Catalog } from "../catalog/index.js";
import type { Part } from "../records/parts.js";
import type { ThreadHandle } from "./thread-handle.js";

/** Parts that a thread has at hand, so that it need not wait for the next one. */
const AT_HAND = 2;
/** Parts of each thread that may wait for their turn. */
const AHEAD = 8;

/** A part, and the thread that has it. */
export interface GivenPart {
  readonly part: Part;
  readonly thread: ThreadHandle;
}

export interface OrderedPartsOptions {
  readonly threads: readonly ThreadHandle[];
  readonly catalog: Catalog;
  /** Children of rejected records are rejected: their kind's parts wait until all of their parents' were taken. */
  readonly leavesOrphans: boolean;
  readonly signal: AbortSignal;
}

export class OrderedParts {
  private readonly given: GivenPart[] = [];
  /** Kinds of parts that were given and not yet taken. */
  private readonly open = new Map<string, number>();
  private isPlanned = false;
  private failure: { readonly error: unknown } | undefined;
  private isClosed = false;
  private readonly waiting = new Set<() => void>();

  constructor(private readonly options: OrderedPartsOptions) {}

  /** Plans and gives until there are no more parts. Never rejects: `next` throws what came. */
  async giveAll(parts: AsyncIterable<Part>): Promise<void> {
    try {
      for await (const part of parts) {
        const thread = await this.freeThread(part);
        if (thread === undefined) return;
        this.open.set(part.path, (this.open.get(part.path) ?? 0) + 1);
        this.given.push({ part, thread });
        thread.give(part);
        this.changed();
      }
    } catch (error) {
      this.failure = { error };
    }
    this.isPlanned = true;
    this.changed();
  }

  /** The next part in order; undefined when there are no more. */
  async next(): Promise<GivenPart | undefined> {
    for (;;) {
      const [first] = this.given;
      if (first !== undefined) return first;
      if (this.failure !== undefined) throw this.failure.error;
      if (this.isPlanned) return undefined;
      this.options.signal.throwIfAborted();
      await this.change();
    }
  }

  /** The part that `next` gave was taken whole. */
  took({ part }: GivenPart): void {
    this.given.shift();
    this.open.set(part.path, (this.open.get(part.path) ?? 1) - 1);
    this.changed();
  }

  /** No more parts are given. */
  close(): void {
    this.isClosed = true;
    this.changed();
  }

  /** To be called when a thread can take another part, and when the run was aborted. */
  changed(): void {
    const waiting = [...this.waiting];
    this.waiting.clear();
    for (const wake of waiting) wake();
  }

  private change(): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.add(resolve);
    });
  }

  private async freeThread(part: Part): Promise<ThreadHandle | undefined> {
    const { threads, signal } = this.options;
    for (;;) {
      if (this.isClosed || signal.aborted) return undefined;
      const [freest] = threads.toSorted((one, other) => one.parts - other.parts) as [ThreadHandle];
      const isRoom = freest.parts < AT_HAND && this.given.length < threads.length * AHEAD;
      if (isRoom && !this.waitsForParents(part)) return freest;
      await this.change();
    }
  }

  private waitsForParents({ path }: Part): boolean {
    const { catalog, leavesOrphans } = this.options;
    if (!leavesOrphans) return false;
    const keys = catalog.byPath.get(path)?.foreignKeys ?? [];
    return keys.some(({ references }) => references !== path && (this.open.get(references) ?? 0) > 0);
  }
}
