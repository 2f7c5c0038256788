/** Words that were probably meant. */

/** The word that differs from `typed` by the fewest letters; undefined where none is near. */
export function nearest(typed: string, words: readonly string[]): string | undefined {
  let found: string | undefined;
  let fewest = Math.max(2, Math.ceil(typed.length * 0.4)) + 1;
  for (const word of words) {
    const distance = editDistance(typed.toLowerCase(), word.toLowerCase());
    if (distance >= fewest) continue;
    fewest = distance;
    found = word;
  }
  return found;
}

/** Letters to insert, leave out, replace or swap with the next. */
function editDistance(one: string, other: string): number {
  // Whatever is this long was no word that was mistyped.
  if (Math.abs(one.length - other.length) > other.length) return Number.POSITIVE_INFINITY;
  let beforeLast: number[] = [];
  let last = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let row = 1; row <= one.length; row++) {
    const now = [row];
    for (let column = 1; column <= other.length; column++) {
      const same = one[row - 1] === other[column - 1];
      let least = Math.min(
        (last[column] as number) + 1,
        (now[column - 1] as number) + 1,
        (last[column - 1] as number) + (same ? 0 : 1),
      );
      const swapped = one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      if (swapped && row > 1 && column > 1) least = Math.min(least, (beforeLast[column - 2] as number) + 1);
      now.push(least);
    }
    beforeLast = last;
    last = now;
  }
  return last[other.length] as number;
}
