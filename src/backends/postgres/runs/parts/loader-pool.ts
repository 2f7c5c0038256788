/** The connections that load parts: one part each at a time; the first failure ends all. */
import type { PartLoader } from "./part-loader.js";

export class LoaderPool {
  private readonly idle: PartLoader[];
  private readonly atWork = new Set<Promise<void>>();
  private failure: { readonly error: unknown } | undefined;

  constructor(readonly loaders: readonly PartLoader[]) {
    this.idle = [...loaders];
  }

  /** A loader that has nothing to do; waits for one. Throws what another has failed with. */
  async take(): Promise<PartLoader> {
    for (;;) {
      this.throwFailure();
      const loader = this.idle.pop();
      if (loader !== undefined) return loader;
      await Promise.race(this.atWork);
    }
  }

  /** Lets the loader work; it is free again afterwards. */
  start(loader: PartLoader, work: () => Promise<void>): void {
    const running: Promise<void> = work()
      .then(
        () => void this.idle.push(loader),
        (error: unknown) => {
          this.failure ??= { error };
        },
      )
      .finally(() => this.atWork.delete(running));
    this.atWork.add(running);
  }

  /** When all that is under way now has ended, whatever came of it. */
  ended(): Promise<unknown> {
    return Promise.allSettled([...this.atWork]);
  }

  /** Waits until all that was started is done. Throws what failed. */
  async drain(): Promise<void> {
    while (this.atWork.size > 0) await Promise.race(this.atWork);
    this.throwFailure();
  }

  private throwFailure(): void {
    if (this.failure !== undefined) throw this.failure.error;
  }
}
