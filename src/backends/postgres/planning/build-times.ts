/** How long index builds still take: by shipped figures at first, then by the builds that this run has seen. */

/** An index that is to be built, and what it is built of. */
export interface Build {
  /** Its access method: "btree", "hnsw", … */
  readonly method: string;
  readonly rows: number;
  /** Of the rows' values. */
  readonly bytes: number;
  /** Of the vectors; 0 where there are none. */
  readonly dimension: number;
  /** Of a graph: how much more it takes than with pgvector's defaults. */
  readonly effort: number;
}

/** That of an HNSW index by its definition: m neighbours of each row are chosen among ef_construction. */
export function graphEffort(definition: string): number {
  const option = (name: string, usual: number): number =>
    Number(new RegExp(`\\b${name}\\s*=\\s*'?(\\d+)`).exec(definition)?.[1] ?? usual) / usual;
  return option("m", 16) * option("ef_construction", 64);
}

/** Seconds, both above 0; the same where what is left is known. */
export interface TimeLeft {
  readonly least: number;
  readonly most: number;
}

/**
 * Microseconds that PostgreSQL 15 and pgvector 0.8 took on one core of a common server: HNSW of 3,000 to 12,000 random vectors
 * of 384 and 1,536 dimensions with m = 16 and ef_construction = 64, the others of 100,000 rows of 300 bytes.
 */
const ROW_MICROSECONDS: Readonly<Record<string, (build: Build) => number>> = {
  hnsw: ({ rows, dimension, effort }) => effort * (90 + 0.32 * dimension) * (Math.log2(rows + 2) / 11.5) ** 2,
  ivfflat: ({ dimension }) => 5 + 0.1 * dimension,
  gin: ({ rows, bytes }) => 1 + 0.03 * (bytes / rows),
  gist: () => 9,
  btree: () => 1,
};
/** A graph's rows cost more the more there are: the time is its share to the power of this, at least and at most. */
const GROWTH: Readonly<Record<string, readonly [number, number]>> = { hnsw: [1.2, 1.7] };
/** What each build costs whatever it is of. Seconds. */
const FIXED_SECONDS = 0.002;
/** A figure that nothing was measured for may be wrong by so much, up or down. */
const SPREAD = 2;
/** Of a build that is seen, before it is extrapolated. */
const LEAST_FRACTION = 0.02;
const LEAST_SECONDS = 0.5;
/** What was measured of shorter builds says nothing of long ones. Seconds. */
const TELLING_SECONDS = 0.2;
/** Work is left until the build is over. Seconds. */
const LEAST_LEFT = 0.1;

function shippedSeconds(build: Build): number {
  if (build.rows === 0) return FIXED_SECONDS;
  const microseconds = (ROW_MICROSECONDS[build.method] ?? ROW_MICROSECONDS.btree)?.(build) ?? 0;
  return FIXED_SECONDS + (build.rows * microseconds) / 1e6;
}

/** Seconds of a build like another one, which took `taken`. */
export function scaledSeconds(build: Build, like: Build, taken: number): number {
  return (taken * shippedSeconds(build)) / shippedSeconds(like);
}

interface Ratio {
  expected: number;
  taken: number;
}

export class BuildTimes {
  /** Of the builds that are over, by method. */
  private readonly seen = new Map<string, Ratio>();
  private building: { readonly build: Build; readonly started: number } | undefined;
  private rest: readonly Build[] = [];

  /** `now`: seconds of any clock. */
  constructor(private readonly now: () => number = () => performance.now() / 1000) {}

  /** A build begins, and with it the one before is over. `rest`: those that are known to come after it. */
  begin(build: Build, rest: readonly Build[]): void {
    this.end();
    this.building = { build, started: this.now() };
    this.rest = rest;
  }

  end(): void {
    if (this.building === undefined) return;
    const { build, started } = this.building;
    const ratio = this.seen.get(build.method) ?? { expected: 0, taken: 0 };
    ratio.expected += shippedSeconds(build);
    ratio.taken += this.now() - started;
    this.seen.set(build.method, ratio);
    this.building = undefined;
  }

  /** Until the last of them is built. `fraction`: how much of the present one is, where that is known. Undefined: none is built. */
  left(fraction: number | undefined): TimeLeft | undefined {
    if (this.building === undefined) return undefined;
    const { build, started } = this.building;
    const elapsed = this.now() - started;
    const isTelling = fraction !== undefined && fraction >= LEAST_FRACTION && elapsed >= LEAST_SECONDS;
    const present = isTelling
      ? extrapolated(build, elapsed, fraction)
      : remaining(this.expected(build, undefined), elapsed);
    const whole = elapsed + (present.least + present.most) / 2;
    const now = isTelling ? { method: build.method, expected: shippedSeconds(build), taken: whole } : undefined;
    let { least, most } = present;
    for (const next of this.rest) {
      const time = this.expected(next, now);
      least += time.least;
      most += time.most;
    }
    return { least: Math.max(LEAST_LEFT, least), most: Math.max(LEAST_LEFT, most) };
  }

  /** By what its own method took here, else by what any took, with the spread of a guess. */
  private expected(build: Build, now: ({ readonly method: string } & Ratio) | undefined): TimeLeft {
    const shipped = shippedSeconds(build);
    const own = this.ratio(now, build.method);
    if (own !== undefined) return fixed(shipped * own);
    const guess = shipped * (this.ratio(now) ?? 1);
    return { least: guess / SPREAD, most: guess * SPREAD };
  }

  /** Of what builds took to what was shipped. Undefined where too little was seen. */
  private ratio(now: ({ readonly method: string } & Ratio) | undefined, method?: string): number | undefined {
    const ratios = [...this.seen].filter(([name]) => method === undefined || name === method).map(([, ratio]) => ratio);
    if (now !== undefined && (method === undefined || now.method === method)) ratios.push(now);
    const expected = ratios.reduce((sum, ratio) => sum + ratio.expected, 0);
    const taken = ratios.reduce((sum, ratio) => sum + ratio.taken, 0);
    return taken < TELLING_SECONDS ? undefined : taken / expected;
  }
}

function fixed(seconds: number): TimeLeft {
  return { least: seconds, most: seconds };
}

function extrapolated({ method }: Build, elapsed: number, fraction: number): TimeLeft {
  const [least, most] = GROWTH[method] ?? [1, 1];
  return { least: elapsed * (fraction ** -least - 1), most: elapsed * (fraction ** -most - 1) };
}

/** Of a build of which nothing but its age is known; one that is older than was thought may take half as long again. */
function remaining({ least, most }: TimeLeft, elapsed: number): TimeLeft {
  return { least: Math.max(0, least - elapsed), most: Math.max(most - elapsed, elapsed / 2) };
}
