/** What workers tell of the parts that they load, and what their coordinator adds up of it: it meets no record itself. */
import type { PartTold } from "../../backends/postgres/runs/plan/plan-ledger.js";
import type { ToldPart } from "../../backends/postgres/runs/plan/plan-progress.js";
import { StorageError } from "../../errors.js";
import { catalog } from "../../llmspell/catalog/index.js";
import type { PartTally } from "../../records/parts.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { RunContext, StepEffect } from "../../records/run-context.js";
import { ValueBytes } from "../../records/value-bytes.js";
import type { Sink, SinkReport } from "../../sinks/sink.js";
import { UnmetTenants, warnOfMissing } from "../../transforms/effect.js";
import { recipeOf } from "../../transforms/spec.js";
import type { Transform } from "../../transforms/transform.js";
import { digestsOf } from "../../verify/digest.js";
import { TransferDigester, type TransferDigests, transferDigests } from "../../verify/digesting-sink.js";
import { DigestSum } from "../../verify/record-digest.js";

/** PartTold.effects: what each step met, which of the run's tenants had no record, and what the user is to know. */
interface Effects {
  /** Records that came to the target; it may have more of them already than it took. */
  readonly came: number;
  readonly steps: readonly (readonly [records: number, hits: number, passed: number])[];
  /** Places in the list of tenants that have had none. */
  readonly unmet: readonly number[];
  readonly warnings: readonly string[];
}

/** Of a part. */
const MOST_WARNINGS = 20;
const NONE: StepEffect = { records: 0, hits: 0, passed: 0 };

/** A worker's side: one pass of one part. */
export class PartCounts {
  readonly steps: readonly Transform[];
  private readonly effects: readonly StepEffect[];
  private readonly values = new ValueBytes();
  private readonly unmet: UnmetTenants;
  private readonly digester: TransferDigester | undefined;
  private readonly warnings: string[] = [];
  private came = 0;

  constructor(
    steps: readonly Transform[],
    private readonly tenants: readonly string[],
    digests: boolean,
  ) {
    this.effects = steps.map(() => ({ ...NONE }));
    this.steps = steps.map((step, at) => withEffect(step, this.effects[at] as StepEffect));
    this.unmet = new UnmetTenants(tenants);
    this.digester = digests ? new TransferDigester(catalog, false) : undefined;
  }

  /** A batch as the source gave it. */
  see(batch: RecordBatch): void {
    this.unmet.see(batch);
  }

  /** A line that the coordinator's user is to see. */
  warn(line: string): void {
    if (this.warnings.length < MOST_WARNINGS) this.warnings.push(line);
  }

  /** The part's sink, whose records are digested as they come to the target. */
  digested(inner: Sink): Sink {
    return this.digester?.sink(inner) ?? inner;
  }

  /** The same with whatever stands before it: the bytes of values are counted as they come out of the steps. */
  counted(inner: Sink): Sink {
    return {
      name: inner.name,
      ...(inner.checksReferences === undefined ? {} : { checksReferences: inner.checksReferences }),
      open: (header, context) => inner.open(header, context),
      write: (batch) => {
        this.came += batch.rows;
        return inner.write(this.values.counted(batch));
      },
      finish: (run) => inner.finish(run),
      abort: () => inner.abort(),
    };
  }

  /** When all of the part has come. */
  told(path: string, met: PartTally): PartTold {
    const left = new Set(this.unmet.names());
    const effects: Effects = {
      came: this.came,
      steps: this.effects.map(({ records, hits, passed }) => [records, hits, passed]),
      unmet: this.tenants.flatMap((tenant, at) => (left.has(tenant) ? [at] : [])),
      warnings: this.warnings,
    };
    return {
      met,
      valueBytes: this.values.byPath.get(path) ?? 0,
      meaning: this.digester?.digestOf(path) ?? "",
      effects: JSON.stringify(effects),
    };
  }
}

/** The step, whose counts are kept: whether it had an effect is said of all parts together. */
function withEffect(step: Transform, effect: StepEffect): Transform {
  const { name, mayDrop, mayChange, tellsDrops } = step;
  return {
    name,
    ...(mayDrop === undefined ? {} : { mayDrop: (path) => mayDrop.call(step, path) }),
    ...(mayChange === undefined ? {} : { mayChange: (path, field) => mayChange.call(step, path, field) }),
    ...(tellsDrops === undefined ? {} : { tellsDrops }),
    apply: (batches, context) => step.apply(batches, { ...context, ahead: true, effect: () => effect }),
  };
}

/** The coordinator's side: sums over all parts. */
export class RunSums {
  readonly valueBytes = new Map<string, number>();
  private readonly come = new Map<string, number>();
  private readonly digests = new Map<string, DigestSum>();
  private readonly effects: StepEffect[];
  private unmet: ReadonlySet<number>;

  constructor(
    private readonly steps: readonly Transform[],
    private readonly tenants: readonly string[],
  ) {
    this.effects = steps.map(() => ({ ...NONE }));
    this.unmet = new Set(tenants.keys());
  }

  /** Gives lines for the user. */
  add({ section, records, valueBytes, meaning, effects }: ToldPart): readonly string[] {
    const count = Number(records);
    this.valueBytes.set(section, (this.valueBytes.get(section) ?? 0) + Number(valueBytes));
    this.come.set(section, (this.come.get(section) ?? 0) + count);
    const told = readEffects(effects);
    const sum = told.came === count ? DigestSum.of(meaning, count) : undefined;
    const all = this.digests.get(section);
    if (sum !== undefined && all !== undefined) all.addSum(sum);
    else if (sum !== undefined) this.digests.set(section, sum);
    for (const [at, [met = 0, hits = 0, passed = 0]] of told.steps.entries()) {
      const effect = this.effects[at];
      if (effect === undefined) continue;
      effect.records += met;
      effect.hits += hits;
      effect.passed += passed;
    }
    this.unmet = new Set(told.unmet.filter((at) => this.unmet.has(at)));
    return told.warnings;
  }

  /** What the steps, and tenants without records, have to say of all of it. E_NO_EFFECT */
  async settle(context: RunContext): Promise<void> {
    for (const at of this.unmet) warnOfMissing(this.tenants[at] as string, context);
    for (const [at, step] of this.steps.entries()) {
      // Plugins count nothing.
      if (recipeOf(step)?.spec.type === "plugin") continue;
      const effect = this.effects[at] as StepEffect;
      // A pass without records, whose step finds the sums.
      for await (const _ of step.apply(nothing(), { ...context, effect: () => effect }))
        throw new StorageError("E_UNEXPECTED", "a step gave records that it never got");
    }
  }

  /** A section that a part told no digest of has none. */
  transferDigests(counts: SinkReport["counts"]): TransferDigests {
    return transferDigests(digestsOf(catalog, this.digests), this.come, counts);
  }
}

async function* nothing(): AsyncGenerator<RecordBatch> {}

function readEffects(text: string): Effects {
  try {
    const { came = 0, steps, unmet, warnings } = JSON.parse(text) as Partial<Effects>;
    if (Array.isArray(steps) && Array.isArray(unmet) && Array.isArray(warnings))
      return { came, steps, unmet, warnings };
  } catch {
    // Nothing was told.
  }
  return { came: 0, steps: [], unmet: [], warnings: [] };
}
