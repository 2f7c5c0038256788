/** A sink that pauses between batches while the target, or somebody who uses it, would come to harm. */
import { setTimeout as sleep } from "node:timers/promises";
import { eachChunk } from "../records/byte-rate.js";
import type { HoldReasons } from "../records/loads/lag-bound.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";
import type { StoreHeader } from "../sources/source.js";
import type { RunFacts, Sink, SinkReport } from "./sink.js";

/** How often is looked. */
const LOOK_MILLISECONDS = 1000;
/** The same while the load pauses. */
const PAUSE_MILLISECONDS = 500;

export function createPausingSink(inner: Sink, reasons: HoldReasons): Sink {
  return new PausingSink(inner, reasons);
}

class PausingSink implements Sink {
  readonly name: string;
  readonly inCatalogOrder?: boolean;
  readonly checksReferences?: boolean;
  private context: RunContext | undefined;
  private looked = Number.NEGATIVE_INFINITY;
  private isWarned = false;
  private pauses = 0;
  private pausedMilliseconds = 0;

  constructor(
    private readonly inner: Sink,
    private readonly reasons: HoldReasons,
  ) {
    this.name = inner.name;
    if (inner.inCatalogOrder !== undefined) this.inCatalogOrder = inner.inCatalogOrder;
    if (inner.checksReferences !== undefined) this.checksReferences = inner.checksReferences;
  }

  async open(header: StoreHeader, context: RunContext): Promise<void> {
    this.context = context;
    const line = await this.reasons.open();
    if (line !== undefined) context.warn(line);
    await this.inner.open(header, context);
  }

  async write(batch: RecordBatch): Promise<void> {
    await this.pause();
    await this.inner.write(eachChunk(batch, () => this.pause()));
  }

  async finish(run?: RunFacts): Promise<SinkReport> {
    const { notes, ...report } = await this.inner.finish(run);
    if (this.pauses === 0) return { ...report, notes };
    const seconds = Math.max(1, Math.round(this.pausedMilliseconds / 1000));
    return { ...report, notes: [...notes, `Paused ${this.pauses} times, ${seconds} s in all`] };
  }

  async abort(): Promise<void> {
    await this.inner.abort();
    await this.reasons.close();
  }

  /** Returns when nothing is to be waited for any more; throws at once when the run is aborted. */
  private async pause(): Promise<void> {
    const { context } = this;
    const since = performance.now();
    if (context === undefined || since - this.looked < LOOK_MILLISECONDS) return;
    let reason = await this.look();
    if (reason !== undefined) this.pauses++;
    while (reason !== undefined) {
      context.activity?.({ phase: "paused", waiting: reason });
      await sleep(PAUSE_MILLISECONDS, undefined, { signal: context.signal });
      this.pausedMilliseconds += PAUSE_MILLISECONDS;
      reason = await this.look();
    }
    this.looked = performance.now();
  }

  private async look(): Promise<string | undefined> {
    try {
      if (!this.isWarned) {
        const warning = await this.reasons.warning();
        this.isWarned = warning !== undefined;
        if (warning !== undefined) this.context?.warn(warning);
      }
      return await this.reasons.reason();
    } catch {
      this.context?.signal.throwIfAborted();
      // Its session may have ended, as sessions do in a long load. A second error counts.
      await this.reasons.reopen();
      return this.reasons.reason();
    }
  }
}
