/** One part at a time: what a worker does with a job. */
import { setTimeout as sleep } from "node:timers/promises";
import type { JobQueue, PartJob, TakenJob } from "../../backends/postgres/queue/job-queue.js";
import { StorageError, toStorageError } from "../../errors.js";
import { catalog } from "../../llmspell/catalog/index.js";
import { createTranslatingSink, parseTranslation } from "../../llmspell/translate.js";
import { sendError } from "../../parallel/sent-error.js";
import type { PartTally } from "../../records/parts.js";
import type { RunContext } from "../../records/run-context.js";
import type { PartTarget, PartTask } from "../../sinks/postgres-part-target.js";
import type { Source, StoreHeader } from "../../sources/source.js";
import {
  type AnyLocation,
  backends,
  createSource,
  databaseOf,
  namedStore,
  sessionOptions,
  sourceOptions,
} from "../../stores/index.js";
import type { Transform } from "../../transforms/transform.js";
import { transfer } from "../run.js";
import { readSaid, type SaidAlike, stepsAlike } from "./alike.js";
import { partSteps } from "./step-effects.js";
import type { WorkerEvent, WorkerOptions } from "./work.js";

const IDLE_MILLISECONDS = 500;
/** Sessions are not held for nothing: a snapshot keeps its server from cleaning up. */
const REST_MILLISECONDS = 3000;
const LOCK_SECONDS = 30;

/** May help later, or elsewhere; what is not here is the record's or the target's, and stays. */
const PASSING: ReadonlySet<string> = new Set([
  "E_CONNECT",
  "E_CONNECTION_LOST",
  "E_CONNECTION_TIMEOUT",
  "E_AUTHENTICATION",
  "E_LOCKED",
  "E_INTERRUPTED",
  "E_CONFIG",
  "E_IO",
]);

/** What of a run is open. */
interface Session {
  readonly key: string;
  readonly target: PartTarget;
  source?: {
    readonly reader: Source;
    readonly header: StoreHeader;
    readonly said: SaidAlike;
    readonly steps: readonly Transform[];
  };
}

/** One part at a time. */
export class Hand {
  private session: Session | undefined;
  private lastPart = performance.now();

  constructor(
    private readonly options: WorkerOptions,
    private readonly queue: JobQueue,
    private readonly signal: AbortSignal,
    private readonly worker: string,
  ) {}

  async work(): Promise<void> {
    while (!this.signal.aborted) {
      let taken: TakenJob | undefined;
      try {
        taken = await this.queue.take();
      } catch (error) {
        this.say("failed", toStorageError(error).message);
      }
      if (taken === undefined) {
        if (performance.now() - this.lastPart > REST_MILLISECONDS) await this.rest();
        await sleep(IDLE_MILLISECONDS, undefined, { signal: this.signal }).catch(() => {});
        continue;
      }
      await this.settle(taken);
      this.lastPart = performance.now();
    }
  }

  /** Ends the sessions with the stores. */
  async rest(): Promise<void> {
    const { session } = this;
    this.session = undefined;
    await session?.source?.reader.close();
    await session?.target.close();
  }

  private async settle(taken: TakenJob): Promise<void> {
    const { queue } = this;
    const { job } = taken;
    const alive = setInterval(() => void queue.touch(taken).catch(() => {}), (taken.timeoutSeconds * 1000) / 4);
    try {
      if (job === undefined) this.say("dropped", "a job that is none of ours");
      const isDone = job === undefined || (await this.tryPart(job, taken));
      await (isDone ? queue.complete(taken) : queue.giveBack(taken));
    } catch (error) {
      await queue.giveBack(taken).catch(() => {});
      const { code, message } = toStorageError(error);
      if (code === "E_USAGE") throw error;
      this.say("failed", message);
    } finally {
      clearInterval(alive);
    }
  }

  /** False: another may try. */
  private async tryPart(job: PartJob, taken: TakenJob): Promise<boolean> {
    let task: PartTask | undefined;
    let session: Session;
    try {
      session = await this.sessionOf(job);
      task = await session.target.take(job, () => this.queue.isHeld(taken));
    } catch (error) {
      await this.rest();
      const { code, message } = toStorageError(error);
      this.say(code === "E_RUN_UNFINISHED" ? "dropped" : "given back", message, job);
      // What a ledger says that no coordinator has written is not worth another attempt.
      return code === "E_RUN_UNFINISHED" || code === "E_RUN_TAKEN";
    }
    if (task === undefined) {
      this.say("dropped", "the job is of no run that is under way, or its part is done, or at hand elsewhere", job);
      return true;
    }
    const section = task.planned.section;
    try {
      await this.load(session, task, job);
      this.say(task.stage === "loading" ? "loaded" : "compared", `part ${job.part} of ${section}`, job, section);
      return true;
    } catch (error) {
      const known = this.signal.aborted
        ? new StorageError("E_INTERRUPTED", "the worker was ended")
        : toStorageError(error);
      if (known.code === "E_RUN_TAKEN") {
        this.say("dropped", known.message, job, section);
        await this.rest();
        return true;
      }
      const isFinal = !PASSING.has(known.code) && known.code !== "E_USAGE";
      const failure =
        known.code === "E_INTERRUPTED"
          ? ""
          : JSON.stringify({ ...sendError(known), stack: undefined, cause: undefined });
      const tried = known.code !== "E_INTERRUPTED" && known.code !== "E_USAGE";
      await session.target.giveBack(task, { failure, final: isFinal, tried }).catch(() => {});
      // Whatever broke, the next part begins with sessions of its own.
      await this.rest();
      this.say(isFinal ? "failed" : "given back", known.message, job, section);
      if (known.code === "E_USAGE") throw known;
      return isFinal;
    }
  }

  private async load(session: Session, task: PartTask, job: PartJob): Promise<void> {
    session.source ??= await this.openSource(task, job);
    const { reader, header, said, steps } = session.source;
    const { invalidUuid, translate, tenants } = said;
    for (;;) {
      let tally: PartTally | undefined;
      let met = 0;
      const { transforms, effects } = partSteps(steps);
      const sink = session.target.sink(task, () => ({ ...(tally ?? { records: met, sum: 0 }), effects }));
      const source: Source = {
        name: reader.name,
        open: async () => header,
        estimate: async () => undefined,
        async *read(selection, context) {
          const told = (came: PartTally): void => {
            tally = came;
          };
          for await (const batch of reader.read({ ...selection, part: task.part }, { ...context, cameOfPart: told })) {
            met += batch.rows;
            yield batch;
          }
        },
        close: async () => {},
      };
      const database = databaseOf(this.locate(job.to));
      if (database === undefined) throw new Error("the target of a run is a database");
      const before = createTranslatingSink(sink, {
        target: database.spelling,
        translate: translate === undefined ? undefined : parseTranslation(translate),
      });
      try {
        await transfer(
          source,
          before,
          {
            from: "",
            to: "",
            signal: this.signal,
            transforms,
            digester: undefined,
            cascade: false,
            ...(invalidUuid === undefined ? {} : { invalidUuid }),
            ...(tenants === undefined ? {} : { tenants }),
          } as Parameters<typeof transfer>[2],
          false,
        );
        return;
      } catch (error) {
        if (sink.outcome === "done") return;
        if (sink.outcome !== "again") throw error;
      }
    }
  }

  private async sessionOf(job: PartJob): Promise<Session> {
    const key = `${job.token}/${job.epoch}/${job.from}/${job.to}`;
    if (this.session?.key === key) return this.session;
    await this.rest();
    const location = this.locate(job.to);
    const runs = databaseOf(location)?.runs;
    if (runs?.work === undefined)
      throw new StorageError("E_CONFIG", `the store ${job.to} of the configuration is no PostgreSQL server`);
    const { config, lockTimeoutSeconds = LOCK_SECONDS } = this.options;
    const session = sessionOptions(location, {}, config);
    const target = await runs.work(location, { ...session, lockTimeoutSeconds, catalog, worker: this.worker });
    this.session = { key, target };
    return this.session;
  }

  private async openSource({ plan }: PartTask, job: PartJob): Promise<NonNullable<Session["source"]>> {
    const said = readSaid(plan.options);
    if (said === undefined || plan.from !== job.from)
      throw new StorageError("E_RUN_UNFINISHED", `what the ledger says of the run ${job.run} is no plan`);
    const { transforms, config } = this.options;
    const steps = await stepsAlike(transforms, plan.token, said);
    const location = this.locate(job.from);
    const { sourceMode, sourceCheck, invalidUuid, tenants } = said;
    const settings = { catalog, sourceMode, sourceCheck, invalidUuid, snapshot: readSnapshot(plan.snapshot) };
    const reader = await createSource(location, sourceOptions(location, settings, { config }), { list: backends });
    const context: RunContext = {
      signal: this.signal,
      async reject({ error }) {
        throw error;
      },
      isRejected: () => false,
      warn: (line) => this.say("failed", line, job),
      leftOut() {},
    };
    const paths = new Set(catalog.kinds.map(({ path }) => path));
    try {
      const header = await reader.open(context, tenants === undefined ? { paths } : { paths, tenants });
      return { reader, header, said, steps };
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  private locate(name: string): AnyLocation {
    return namedStore(name, this.options.config);
  }

  private say(event: WorkerEvent["event"], line: string, job?: PartJob, section?: string): void {
    const { run, part } = job ?? {};
    this.options.onEvent({
      event,
      line,
      ...(run === undefined ? {} : { run }),
      ...(part === undefined ? {} : { part }),
      ...(section === undefined ? {} : { section }),
    });
  }
}

/** What the ledger says; its name is looked at where it is taken. */
function readSnapshot(text: string): object {
  try {
    const { id, systemIdentifier } = JSON.parse(text) as Record<string, unknown>;
    if (typeof id === "string")
      return { id, systemIdentifier: typeof systemIdentifier === "string" ? systemIdentifier : undefined };
  } catch {
    // None.
  }
  throw new StorageError("E_RUN_UNFINISHED", "what the ledger says of the run's snapshot is none");
}
