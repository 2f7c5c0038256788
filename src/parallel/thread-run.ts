/** The thread's side: one source and one pass of the steps for as long as it lives, part after part. */
import { catalog } from "../llmspell/catalog/index.js";
import type { Part, PartTally } from "../records/parts.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { Rejection, RunContext, Selection, StepEffect } from "../records/run-context.js";
import type { Source } from "../sources/source.js";
import { backends } from "../stores/backend-registry.js";
import { UnmetTenants } from "../transforms/effect.js";
import { RejectedKeys } from "../transforms/referential/rejected-keys.js";
import { rejectOrphans, withoutOrphans } from "../transforms/referential/rejected-parents.js";
import { createTransforms } from "../transforms/spec.js";
import type { Transform } from "../transforms/transform.js";
import { Drops } from "../transforms/wholeness.js";
import { BatchSender } from "./batch-sender.js";
import type { FromThread, ThreadOrigin, ThreadTask, ToThread } from "./messages.js";
import { sendError } from "./sent-error.js";
import { SLOT_BYTES, Slots } from "./slots.js";
import { TextPrinter } from "./text-printer.js";

type Send = (message: FromThread, handedOver?: ArrayBuffer[]) => void;

/** Loads what reads the store: a source is made, and not opened. */
export async function loadSource(origin: ThreadOrigin): Promise<void> {
  await createSource(origin, { signal: new AbortController().signal });
}

function createSource(
  { location, source }: ThreadOrigin,
  options: { readonly signal: AbortSignal; readonly snapshot?: object },
): Promise<Source> {
  const backend = backends.find(({ type }) => type === location.type);
  if (backend === undefined) throw new Error(`no backend has stores of the type ${location.type}`);
  return backend.createSource(location, { ...source, catalog, ...options });
}

export class ThreadRun {
  private readonly controller = new AbortController();
  private readonly rejected = new RejectedKeys(catalog.parents);
  private readonly slots: Slots;
  private readonly printer: TextPrinter | BatchSender;
  private readonly context: RunContext;
  private readonly effects: StepEffect[] = [];
  private readonly drops = new Drops();
  private readonly unmet: UnmetTenants;
  private readonly selection: Selection;
  private source: Source | undefined;
  private tally: PartTally | undefined;
  /** Parts that wait, and what is to be known before them. */
  private readonly waiting: (ToThread & { readonly type: "part" | "rejected" | "end" })[] = [];
  private wake: () => void = () => {};
  /** What is to be done at the moment, one behind the other. */
  private work: Promise<void> = Promise.resolve();
  private isRunning = false;

  constructor(
    private readonly task: ThreadTask,
    private readonly send: Send,
  ) {
    const { signal } = this.controller;
    this.slots = new Slots(task.memory, signal);
    this.unmet = new UnmetTenants(task.tenants ?? []);
    const paths = new Set(task.paths);
    this.selection = task.tenants === undefined ? { paths } : { paths, tenants: task.tenants };
    const { form } = task;
    this.printer =
      form === "batches"
        ? new BatchSender(this.slots, send)
        : new TextPrinter(this.slots, form, (slot, bytes, counts) => send({ type: "text", slot, bytes, ...counts }));
    this.context = {
      signal,
      reject: (rejection) => this.reject(rejection),
      isRejected: (path, key) => this.rejected.has(path, key),
      warn: (message) => send({ type: "warn", message }),
      note: (message) => send({ type: "note", message }),
      leftOut: () => {},
      cameOfPart: (tally) => {
        this.tally = tally;
      },
      effect: () => {
        const effect: StepEffect = { records: 0, hits: 0, passed: 0 };
        this.effects.push(effect);
        return effect;
      },
      // What the steps say at their end is said by the coordinator, for all threads.
      ahead: true,
    };
  }

  take(message: ToThread): void {
    switch (message.type) {
      case "open":
        this.after(() => this.open(message.snapshot));
        return;
      case "part":
      case "rejected":
      case "end":
        this.waiting.push(message);
        this.wake();
        if (!this.isRunning) this.after(() => this.run());
        this.isRunning = true;
        return;
      case "slot":
        this.slots.giveBack(message.slot);
        return;
      case "abort":
        this.controller.abort();
        this.wake();
    }
  }

  /** Ends whatever is under way. Never throws. */
  async close(): Promise<void> {
    this.controller.abort();
    this.wake();
    await this.work;
    await this.source?.close();
    await this.rejected.close();
  }

  private after(work: () => Promise<void>): void {
    this.work = this.work.then(work).catch((error: unknown) => this.send({ type: "failure", error: sendError(error) }));
  }

  private async open(snapshot: object): Promise<void> {
    await this.source?.close();
    this.source = await createSource(this.task, { signal: this.controller.signal, snapshot });
    await this.source.open(this.context, this.selection);
    this.send({ type: "opened" });
  }

  private async run(): Promise<void> {
    const { context, printer, drops, task } = this;
    const given = await this.steps();
    const orphans = { catalog, hasRejected: (path: string) => this.rejected.hasAny(path) };
    const steps = given.map((step) => drops.watched(step, true));
    let batches: AsyncIterable<RecordBatch> = this.batches();
    for (const step of steps)
      batches = (task.leavesOrphans ? withoutOrphans(step, orphans) : step).apply(batches, context);
    if (task.leavesOrphans) batches = rejectOrphans(batches, orphans, context);
    for await (const batch of batches) await printer.write(batch);
    const { effects, unmet } = this;
    this.send({ type: "ended", effects, dropped: drops.count, unmet: unmet.names() });
  }

  private async steps(): Promise<Transform[]> {
    const steps: Transform[] = [];
    for (const { spec, settings } of this.task.recipes)
      steps.push(...(await createTransforms([spec], { ...settings, catalog })));
    return steps;
  }

  /** The batches of all parts. When the steps ask for the next part's first one, they have given all of the one before. */
  private async *batches(): AsyncGenerator<RecordBatch> {
    const { source, selection, context } = this;
    if (source === undefined) throw new Error("the source is not open");
    for (let part = await this.nextPart(); part !== undefined; part = await this.nextPart()) {
      const met = new Map<string, number>();
      this.tally = undefined;
      for await (const batch of source.read({ ...selection, part }, context)) {
        context.signal.throwIfAborted();
        met.set(batch.kind.path, (met.get(batch.kind.path) ?? 0) + batch.rows);
        this.unmet.see(batch);
        yield batch;
      }
      await this.printer.endPart();
      this.send({
        type: "partEnd",
        met,
        tally: this.tally,
        facts: { partial: source.partial?.(), order: source.order?.() },
      });
    }
  }

  /** Undefined: no more will come. */
  private async nextPart(): Promise<Part | undefined> {
    for (;;) {
      this.controller.signal.throwIfAborted();
      const next = this.waiting.shift();
      if (next?.type === "part") return next.part;
      if (next?.type === "end") return undefined;
      if (next !== undefined) for (const key of next.keys) await this.rejected.add(next.path, key);
      else
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
    }
  }

  /** Tells the coordinator, which counts and writes rejects in their order. */
  private async reject({ kind, error, record }: Rejection): Promise<void> {
    const { slots, send, task } = this;
    const isWritten = task.skips && record !== undefined;
    send({ type: "reject", path: kind.path, error: sendError(error), hasRecord: isWritten });
    if (!task.skips) throw error;
    if (!isWritten) return;
    for await (const chunk of record)
      for (let at = 0; at < chunk.length; at += SLOT_BYTES) {
        const slot = await slots.take();
        const bytes = Math.min(chunk.length - at, SLOT_BYTES);
        slots.memory[slot]?.set(chunk.subarray(at, at + bytes));
        send({ type: "record", slot, bytes });
      }
    send({ type: "recordEnd" });
  }
}
