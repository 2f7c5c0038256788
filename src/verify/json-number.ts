/** What a json number means: its value and its scale, as PostgreSQL's numeric has them; a zero has no sign. */

/** A number of more characters than this, written out, is given as digits and exponent: 1e999999999 is not written out. */
export const PLAIN_CHARACTERS = 40;

const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?)0*(\d*))?$/;
/** Exponents of so many digits are safe integers, and stay so when the length of a text is added. */
const SAFE_DIGITS = 15;
const LAST = 10 ** SAFE_DIGITS;

/**
 * Of a valid JSON number. As numeric prints it where that is short: an exponent takes from the scale, which is never
 * below 0 (1.10 -> 1.10, 1e2 and 1.00e2 -> 100, 100e-2 -> 1.00, -0.0 -> 0.0). Else digits and exponent: of an integer
 * without zeros at the digits' end (1e999999999), of others with the scale as exponent (0e-999999999).
 */
export function numberMeaning(text: string): string {
  const [, minus = "", whole = "", fraction = "", exponentSign, exponentDigits = ""] = NUMBER.exec(text) ?? [];
  const digits = (whole + fraction).replace(/^0+/, "");
  const sign = digits === "" ? "" : minus;
  if (exponentDigits.length > SAFE_DIGITS) {
    if (exponentSign === "-") return `${sign}${digits || "0"}e-${added(exponentDigits, fraction.length)}`;
    if (digits === "") return "0";
    const kept = withoutLastZeros(digits);
    return `${sign}${kept}e${added(exponentDigits, digits.length - kept.length - fraction.length)}`;
  }
  const exponent = Number(exponentDigits) * (exponentSign === "-" ? -1 : 1) - fraction.length;
  const scale = Math.max(0, -exponent);
  const wholeDigits = Math.max(1, digits.length + exponent);
  if (digits === "" ? scale >= PLAIN_CHARACTERS : wholeDigits + scale > PLAIN_CHARACTERS)
    return exponent >= 0 ? sign + integer(digits, exponent) : `${sign}${digits || "0"}e${exponent}`;
  if (digits === "") return scale === 0 ? "0" : `0.${"0".repeat(scale)}`;
  if (exponent >= 0) return sign + digits + "0".repeat(exponent);
  const padded = digits.padStart(scale + 1, "0");
  return `${sign}${padded.slice(0, -scale)}.${padded.slice(-scale)}`;
}

/** Whether `source[start, start + length)` may hold a number of more characters, without an exponent; strings are not told apart. */
export function mayHaveLongNumber(source: Uint8Array, start: number, length: number): boolean {
  const end = start + length;
  // Of so many characters in a row one is looked at.
  for (let at = start + PLAIN_CHARACTERS; at < end; at += PLAIN_CHARACTERS + 1) {
    if (!isOfNumber(source[at] as number)) continue;
    let from = at;
    while (from > start && isOfNumber(source[from - 1] as number)) from--;
    let to = at + 1;
    while (to < end && isOfNumber(source[to] as number)) to++;
    if (to - from > PLAIN_CHARACTERS) return true;
  }
  return false;
}

/** A digit, a point or a sign. */
function isOfNumber(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || byte === 0x2e || byte === 0x2d;
}

/** Digits and exponent of an integer other than zero. */
function integer(digits: string, exponent: number): string {
  const kept = withoutLastZeros(digits);
  const zeros = exponent + digits.length - kept.length;
  return zeros === 0 ? digits : `${kept}e${zeros}`;
}

function withoutLastZeros(digits: string): string {
  let end = digits.length;
  while (digits.charCodeAt(end - 1) === 0x30) end--;
  return digits.slice(0, end);
}

/** The sum of a positive integer, as decimal text of any length beyond SAFE_DIGITS, and a small one: text as well. */
function added(digits: string, summand: number): string {
  let last = Number(digits.slice(-SAFE_DIGITS)) + summand;
  const first = Array.from(digits.slice(0, -SAFE_DIGITS), Number);
  const carried = Math.floor(last / LAST);
  last -= carried * LAST;
  let at = first.length - 1;
  if (carried !== 0) {
    const passedOn = carried > 0 ? 9 : 0;
    for (; first[at] === passedOn; at--) first[at] = 9 - passedOn;
    if (at < 0) first.unshift(1);
    else first[at] = (first[at] as number) + carried;
  }
  return `${first.join("")}${String(last).padStart(SAFE_DIGITS, "0")}`.replace(/^0+/, "");
}
