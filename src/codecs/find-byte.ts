/** Index of `byte` in `source[start, end)`, or -1. Buffer.indexOf alone would search to the buffer's end. */
export function findByte(source: Buffer, byte: number, start: number, end: number): number {
  if (end - start > 96) {
    const found = source.subarray(start, end).indexOf(byte);
    return found === -1 ? -1 : start + found;
  }
  for (let i = start; i < end; i++) if (source[i] === byte) return i;
  return -1;
}
