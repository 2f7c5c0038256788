/** Numbers as jq has them: a literal keeps its digits until something is calculated with it, then it is a double. */

/** What the compiled program would not do exactly as jq does: the record goes to real jq. */
export class Undecided extends Error {}

/** More digits than this are rounded in two steps by jq; more digits of an exponent than that are its library's business. */
const EXACT_DIGITS = 17;
const EXPONENT_DIGITS = 6;
const LITERAL = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;
const SHORT_INTEGER = /^(?:0|-?[1-9]\d{0,14})$/;

interface Decimal {
  readonly sign: string;
  /** Without leading zeros; "0" for zero. */
  readonly digits: string;
  readonly exponent: number;
}

/** A number whose text is not the one that its double would print. */
export class NumberText {
  private decimal: Decimal | undefined;
  constructor(
    /** As it stands in the input or the program. */
    readonly source: string,
    /** The nearest double. */
    readonly nearest: number,
  ) {}

  /** The double that jq calculates with. */
  get value(): number {
    if (this.parts.digits.length > EXACT_DIGITS) throw new Undecided();
    return this.nearest;
  }

  get parts(): Decimal {
    this.decimal ??= parseDecimal(this.source);
    return this.decimal;
  }

  /** As jq prints it. */
  get text(): string {
    return decimalText(this.parts);
  }
}

function parseDecimal(source: string): Decimal {
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = LITERAL.exec(source) ?? [];
  if (exponent.length > EXPONENT_DIGITS) throw new Undecided();
  return { sign, digits: (whole + fraction).replace(/^0+(?=.)/, ""), exponent: Number(exponent) - fraction.length };
}

/** decNumber's to-scientific-string. */
function decimalText({ sign, digits, exponent }: Decimal): string {
  const adjusted = exponent + digits.length - 1;
  if (exponent <= 0 && adjusted >= -6) {
    if (exponent === 0) return sign + digits;
    const point = digits.length + exponent;
    return point > 0
      ? `${sign}${digits.slice(0, point)}.${digits.slice(point)}`
      : `${sign}0.${"0".repeat(-point)}${digits}`;
  }
  const mantissa = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits;
  return `${sign}${mantissa}E${adjusted < 0 ? "-" : "+"}${Math.abs(adjusted)}`;
}

/** The number of a valid JSON number token. */
export function literalNumber(source: string): number | NumberText {
  const nearest = Number(source);
  if (SHORT_INTEGER.test(source)) return nearest;
  if (source.length < 26 && formatNumber(nearest) === source && isPlain(source)) return nearest;
  return new NumberText(source, nearest);
}

/** jq prints a literal in decNumber's way: only where that agrees with the double's is the double enough. */
function isPlain(source: string): boolean {
  return !source.includes("e") && source !== "-0" && decimalText(parseDecimal(source)) === source;
}

/** A double as jq prints it: the shortest digits that give it back. */
export function formatNumber(value: number): string {
  if (Number.isNaN(value)) return "null";
  if (!Number.isFinite(value)) return value > 0 ? "1.7976931348623157e+308" : "-1.7976931348623157e+308";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return Object.is(value, -0) ? "-0" : String(value);
  const [mantissa = "", exponent = "0"] = Math.abs(value).toExponential().split("e");
  const digits = mantissa.replace(".", "");
  const sign = value < 0 ? "-" : "";
  const point = Number(exponent) + 1;
  if (point <= -4 || point > digits.length + 15) {
    const shown = Math.abs(point - 1);
    return `${sign}${mantissa}e${point - 1 < 0 ? "-" : "+"}${shown < 10 ? "0" : ""}${shown}`;
  }
  if (point <= 0) return `${sign}0.${"0".repeat(-point)}${digits}`;
  if (point >= digits.length) return sign + digits + "0".repeat(point - digits.length);
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

export function numberOf(value: number | NumberText): number {
  return typeof value === "number" ? value : value.value;
}

/** Negative, 0 or positive. jq compares two literals by their digits, and anything calculated as a double. */
export function compareNumbers(a: number | NumberText, b: number | NumberText): number {
  if (typeof a === "number" && typeof b === "number") {
    if (Number.isNaN(a)) return -1;
    if (Number.isNaN(b)) return 1;
    return a < b ? -1 : a === b ? 0 : 1;
  }
  const left = typeof a === "number" ? a : a.nearest;
  const right = typeof b === "number" ? b : b.nearest;
  if (Number.isNaN(left) || Number.isNaN(right)) throw new Undecided();
  const areLiterals = typeof a !== "number" && typeof b !== "number";
  if (left !== right && (areLiterals || Math.abs(left - right) > Math.abs(left) * 1e-14)) return left < right ? -1 : 1;
  const order = compareDecimals(decimalOf(a), decimalOf(b));
  // Whether the plain number is a literal or was calculated decides, and cannot be told any more.
  if (order !== 0 && !areLiterals) throw new Undecided();
  return order;
}

function decimalOf(value: number | NumberText): Decimal {
  if (typeof value !== "number") return value.parts;
  if (!Number.isFinite(value)) throw new Undecided();
  return parseDecimal(Object.is(value, -0) ? "-0" : String(value));
}

function compareDecimals(a: Decimal, b: Decimal): number {
  const left = BigInt(a.sign + a.digits);
  const right = BigInt(b.sign + b.digits);
  const shift = a.exponent - b.exponent;
  if (left === 0n || right === 0n || left < 0n !== right < 0n) return left < right ? -1 : left === right ? 0 : 1;
  if (Math.abs(shift) > 2000) throw new Undecided();
  const scaledLeft = shift > 0 ? left * 10n ** BigInt(shift) : left;
  const scaledRight = shift < 0 ? right * 10n ** BigInt(-shift) : right;
  return scaledLeft < scaledRight ? -1 : scaledLeft === scaledRight ? 0 : 1;
}
