/** Which records are a sample: those whose keys have the least hashes, the same in every store and order. */

/** The so many least of all hashes that were offered. */
export class LeastHashes {
  /** A heap: the greatest is first. */
  private readonly heap: number[] = [];

  constructor(private readonly size: number) {}

  /** None beyond it is among them; no limit while there is room. */
  get limit(): number {
    return this.heap.length < this.size ? Number.POSITIVE_INFINITY : (this.heap[0] as number);
  }

  /** Whether the hash is (for now) one of them. */
  takes(hash: number): boolean {
    const { heap } = this;
    if (heap.length < this.size) {
      heap.push(hash);
      for (let at = heap.length - 1; at > 0; ) {
        const parent = (at - 1) >> 1;
        if ((heap[parent] as number) >= (heap[at] as number)) break;
        this.swap(parent, at);
        at = parent;
      }
      return true;
    }
    if (hash > (heap[0] as number)) return false;
    heap[0] = hash;
    for (let at = 0; ; ) {
      let greatest = at;
      for (const child of [at * 2 + 1, at * 2 + 2])
        if (child < heap.length && (heap[child] as number) > (heap[greatest] as number)) greatest = child;
      if (greatest === at) return true;
      this.swap(at, greatest);
      at = greatest;
    }
  }

  private swap(one: number, other: number): void {
    const { heap } = this;
    [heap[one], heap[other]] = [heap[other] as number, heap[one] as number];
  }
}
