/** What a report shows of a run's course: the time of each phase, and the process's memory. */

/** Memory is looked at this often, and less often the longer the run takes. Milliseconds. */
const INTERVAL = 250;
/** So many points are kept; more of them tell nothing more. */
const MOST_POINTS = 240;

export interface PhaseTime {
  /** e.g. `opening`, `sessions`, `finishing` */
  readonly name: string;
  readonly seconds: number;
}

export interface MemoryPoint {
  /** Since the begin of the run. */
  readonly seconds: number;
  /** Resident set size. Bytes. */
  readonly bytes: number;
}

/** Of what a transfer tells of its progress. */
export interface Event {
  readonly path?: string;
  readonly phase?: string;
}

export class RunLog {
  private readonly started = performance.now();
  private last = this.started;
  /** A phase that began; undefined while records are moved. */
  private phase: string | undefined = "opening";
  private readonly times = new Map<string, number>();
  private memory: MemoryPoint[] = [];
  private every = INTERVAL;
  private lastPoint = Number.NEGATIVE_INFINITY;
  private readonly timer: NodeJS.Timeout;

  constructor() {
    this.lookAtMemory();
    this.timer = setInterval(() => this.lookAtMemory(), INTERVAL);
    this.timer.unref();
  }

  /** The source is open. */
  opened(): void {
    this.close(this.phase ?? "opening");
    this.phase = undefined;
  }

  /** A batch of a section has come, or a phase begins. */
  note({ path, phase }: Event): void {
    const isPhase = phase !== undefined && phase !== "rows";
    this.close(this.phase ?? (isPhase ? "finishing" : path || "opening"));
    this.phase = isPhase ? phase : undefined;
    this.lookAtMemory();
  }

  /** Ends the log. */
  end(): { readonly phases: readonly PhaseTime[]; readonly memory: readonly MemoryPoint[] } {
    this.close(this.phase ?? "finishing");
    clearInterval(this.timer);
    this.lastPoint = Number.NEGATIVE_INFINITY;
    this.lookAtMemory();
    const phases = [...this.times].map(([name, milliseconds]) => ({ name, seconds: rounded(milliseconds / 1000) }));
    return { phases, memory: this.memory };
  }

  private close(name: string): void {
    const now = performance.now();
    this.times.set(name, (this.times.get(name) ?? 0) + now - this.last);
    this.last = now;
  }

  private lookAtMemory(): void {
    const now = performance.now();
    if (now - this.lastPoint < this.every) return;
    this.lastPoint = now;
    this.memory.push({ seconds: rounded((now - this.started) / 1000), bytes: process.memoryUsage.rss() });
    if (this.memory.length < MOST_POINTS) return;
    // The highest of each pair stays: a peak is what people look for.
    this.memory = this.memory.flatMap((point, at, all) => {
      const next = all[at + 1];
      if (at % 2 === 1) return [];
      return next === undefined || point.bytes >= next.bytes ? [point] : [next];
    });
    this.every *= 2;
  }
}

function rounded(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}
