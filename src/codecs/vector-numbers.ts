/** An embedding as a JSON array of numbers (`--vectors json`), each the shortest that gives the same float32 back. */
import type { ByteWriter } from "./byte-writer.js";

/**
 * Appends the little-endian float32 values of `source[start, start + length)` as an array. False, and nothing is appended,
 * when one of them is NaN or infinite, which JSON has no number for.
 */
export function writeVectorNumbers(source: Buffer, start: number, length: number, out: ByteWriter): boolean {
  const from = out.length;
  out.byte(0x5b);
  for (let at = start; at < start + length; at += 4) {
    const value = source.readFloatLE(at);
    if (!Number.isFinite(value)) {
      out.length = from;
      return false;
    }
    if (at > start) out.byte(0x2c);
    out.latin1(Object.is(value, -0) ? "-0" : String(shortestFloat32(value)));
  }
  out.byte(0x5d);
  return true;
}

/** Within these a power of ten up to 22 scales any float32 to an integer of nine digits, exactly. */
const SMALLEST = 1e-13;
const LARGEST = 1e8;

/** The double with the fewest decimal digits that rounds to the float32 `value`. */
function shortestFloat32(value: number): number {
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return value;
  if (size < SMALLEST || size >= LARGEST) return shortestByText(value);
  const exponent = Math.floor(Math.log10(size));
  // Six digits are always kept by a float32, so fewer are found as six with zeros behind them.
  for (let digits = 6; digits < 9; digits++) {
    const scale = 10 ** (digits - 1 - exponent);
    // Both are exact, so the quotient is the double that a reader makes of the decimal text.
    const candidate = Math.round(value * scale) / scale;
    if (Math.fround(candidate) === value) return candidate;
  }
  return shortestByText(value, 9);
}

function shortestByText(value: number, from = 1): number {
  for (let digits = from; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === value) return candidate;
  }
  return Number(value.toPrecision(9));
}
