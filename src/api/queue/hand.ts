/** One part at a time: what a worker does with a job. */
import type { JobQueue, PartJob, TakenJob } from "../../backends/postgres/queue/job-queue.js";
import type { PartTold } from "../../backends/postgres/runs/plan/plan-ledger.js";
import { StorageError, toStorageError } from "../../errors.js";
import { catalog } from "../../llmspell/catalog/index.js";
import { createTranslatingSink, parseTranslation } from "../../llmspell/translate.js";
import { sendError } from "../../parallel/sent-error.js";
import type { ByteRate } from "../../records/byte-rate.js";
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
import { readSaid, readSnapshot, type SaidAlike, stepsAlike } from "./alike.js";
import { PartCounts } from "./told.js";
import type { WorkerEvent, WorkerOptions } from "./work.js";

const IDLE_MILLISECONDS = 500;
/** Sessions are not held for nothing: a snapshot keeps its server from cleaning up. */
const REST_MILLISECONDS = 3000;
const LOCK_SECONDS = 30;
/** Different ones, of all runs. */
const MOST_WARNINGS = 1000;

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
  private readonly warned = new Set<string>();

  constructor(
    private readonly options: WorkerOptions,
    private readonly queue: JobQueue,
    private readonly signal: AbortSignal,
    private readonly worker: string,
    private readonly rate: ByteRate | undefined,
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
        await this.queue.wait(IDLE_MILLISECONDS, this.signal);
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
    const { invalidUuid, translate, tenants = [], digests = false, verifyParts = false } = said;
    const section = task.planned.section;
    const { rate } = this;
    for (;;) {
      const counts = new PartCounts(steps, tenants, digests);
      let tally: PartTally | undefined;
      let met = 0;
      const told = (): PartTold => counts.told(section, tally ?? { records: met, sum: 0 });
      const isAmongOthers = readSaid(task.plan.options)?.amongOthers?.includes(section) === true;
      const sink = session.target.sink(task, told, { verifies: verifyParts, isAmongOthers });
      const source: Source = {
        name: reader.name,
        open: async () => header,
        estimate: async () => undefined,
        async *read({ paths }, context) {
          const cameOfPart = (came: PartTally): void => {
            tally = came;
          };
          const whose = said.tenants === undefined ? {} : { tenants };
          const read = reader.read({ paths, ...whose, part: task.part }, { ...context, cameOfPart });
          for await (const batch of rate?.limited(read) ?? read) {
            met += batch.rows;
            counts.see(batch);
            yield batch;
          }
        },
        close: async () => {},
      };
      const database = databaseOf(this.locate(job.to));
      if (database === undefined) throw new Error("the target of a run is a database");
      const translating = createTranslatingSink(counts.digested(sink), {
        target: database.spelling,
        translate: translate === undefined ? undefined : parseTranslation(translate),
      });
      try {
        const { notes } = await transfer(
          source,
          counts.counted(translating),
          {
            from: "",
            to: "",
            signal: this.signal,
            transforms: counts.steps,
            digester: undefined,
            cascade: false,
            onWarning: (line: string) => {
              counts.warn(line);
              this.warn(line, job);
            },
            ...(invalidUuid === undefined ? {} : { invalidUuid }),
          } as Parameters<typeof transfer>[2],
          false,
        );
        for (const line of notes) this.warn(line, job);
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
      warn: (line) => this.warn(line, job),
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

  /** The same line once for each run. */
  private warn(line: string, job: PartJob): void {
    const key = `${job.token} ${line}`;
    if (this.warned.has(key) || this.warned.size === MOST_WARNINGS) return;
    this.warned.add(key);
    this.say("warned", line, job);
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
