/**
 * How large the parts of a plan are, and in which turn kinds are planned: what takes a worker longest first, then parts that get
 * smaller towards the end, so that however many workers there are come to their end at about the same time.
 */
import type { RecordKind } from "../../../../catalog/index.js";

/** The parts that are left are to be so many at least. */
const LEFT = 16;
/** But no smaller than a fraction of what a part may be. */
const SMALLEST = 1 / 4;

export interface PlannedKind {
  readonly kind: RecordKind;
  /** One part. */
  readonly isWhole: boolean;
  /** Of its table, as far as they are not in large objects. */
  readonly bytes: number;
}

export class PartSizes {
  /** Bytes of the kinds that are cut and not planned yet, the one at hand included; and what is planned of that one. */
  private left: number;
  private planned = 0;

  constructor(
    private readonly kinds: readonly PlannedKind[],
    private readonly partBytes: number,
  ) {
    this.left = 0;
    for (const { kind, isWhole, bytes } of kinds) if (!isWhole && !hasLarge(kind)) this.left += bytes;
  }

  inTurn(): PlannedKind[] {
    const bySize = this.kinds.toSorted((one, other) => other.bytes - one.bytes);
    const cut = bySize.filter(({ kind, isWhole }) => !isWhole && !hasLarge(kind));
    const first = cut.length > 1 ? cut[0] : undefined;
    return bySize.toSorted((one, other) => this.turn(one, first) - this.turn(other, first));
  }

  /**
   * Large objects first: what is in them shows when they are read; then a kind that has parts for every worker at once. Kinds that are
   * one part come before parts get smaller than they are; the smallest fill what is left of the time.
   */
  private turn(planned: PlannedKind, first: PlannedKind | undefined): number {
    const { kind, isWhole, bytes } = planned;
    if (hasLarge(kind)) return 0;
    if (planned === first) return 1;
    if (!isWhole) return 3;
    return bytes > this.partBytes * SMALLEST ? 2 : 4;
  }

  /** Bytes of the next part of a kind that is cut. */
  next(kind: RecordKind): number {
    const { partBytes, left, planned } = this;
    if (hasLarge(kind)) return partBytes;
    const bytes = Math.min(partBytes, Math.max(partBytes * SMALLEST, (left - planned) / LEFT));
    this.planned += bytes;
    return bytes;
  }

  /** A kind that was cut is planned. */
  end({ kind, bytes }: PlannedKind): void {
    if (!hasLarge(kind)) this.left -= bytes;
    this.planned = 0;
  }
}

function hasLarge({ postgres: { largeObject } }: RecordKind): boolean {
  return largeObject !== undefined;
}
