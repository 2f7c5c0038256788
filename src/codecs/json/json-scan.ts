/** Whether bytes are JSON text, as JSON.parse judges it: without values, which would keep the garbage collector busy. */
/** What stands in a string as it is, and what follows a backslash there. */
const PLAIN = new Uint8Array(256).fill(1);
PLAIN.fill(0, 0, 0x20);
PLAIN[0x22] = 0;
PLAIN[0x5c] = 0;
const ESCAPABLE = new Uint8Array(256);
for (const character of '"\\/bfnrt') ESCAPABLE[character.charCodeAt(0)] = 1;
const HEX = new Uint8Array(256);
for (const character of "0123456789abcdefABCDEF") HEX[character.charCodeAt(0)] = 1;
/** Whether each level that is open is an object; one scan at a time. */
let levels = new Uint8Array(64);

/** What `source[start, end)`, valid UTF-8, is as JSON text: exactly what JSON.parse takes, without making values of it. */
export function scanJson(source: Buffer, start: number, end: number): "json" | "json with line breaks" | undefined {
  let at = start;
  let depth = 0;
  let breaks = false;
  // "value": one has to follow; "first": or the end of the array; "key", "first key": in an object; "next": behind a value.
  let expected: "value" | "first" | "key" | "first key" | "next" = "value";
  for (;;) {
    let byte = at < end ? (source[at] as number) : -1;
    while (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) {
      if (byte === 0x0a || byte === 0x0d) breaks = true;
      byte = ++at < end ? (source[at] as number) : -1;
    }
    if (expected === "next") {
      if (depth === 0) {
        if (byte !== -1) return undefined;
        return breaks ? "json with line breaks" : "json";
      }
      const isObject = levels[depth - 1] === 1;
      if (byte === 0x2c) expected = isObject ? "key" : "value";
      else if (byte === (isObject ? 0x7d : 0x5d)) depth--;
      else return undefined;
      at++;
      continue;
    }
    if (expected === "key" || expected === "first key") {
      if (byte === 0x7d && expected === "first key") {
        depth--;
        at++;
        expected = "next";
        continue;
      }
      if (byte !== 0x22) return undefined;
      at = stringEnd(source, at + 1, end);
      if (at < 0) return undefined;
      while (at < end && (source[at] === 0x20 || source[at] === 0x0a || source[at] === 0x0d || source[at] === 0x09)) {
        if (source[at] === 0x0a || source[at] === 0x0d) breaks = true;
        at++;
      }
      if (at >= end || source[at] !== 0x3a) return undefined;
      at++;
      expected = "value";
      continue;
    }
    if (byte === 0x22) {
      at = stringEnd(source, at + 1, end);
    } else if (byte === 0x7b || byte === 0x5b) {
      if (depth === levels.length) {
        const deeper = new Uint8Array(depth * 2);
        deeper.set(levels);
        levels = deeper;
      }
      levels[depth++] = byte === 0x7b ? 1 : 0;
      at++;
      expected = byte === 0x7b ? "first key" : "first";
      continue;
    } else if (byte === 0x5d && expected === "first") {
      depth--;
      at++;
    } else if (byte === 0x74) at = wordEnd(source, at, end, "true");
    else if (byte === 0x66) at = wordEnd(source, at, end, "false");
    else if (byte === 0x6e) at = wordEnd(source, at, end, "null");
    else at = numberEnd(source, at, end);
    if (at < 0) return undefined;
    expected = "next";
  }
}

/** Behind the quotation mark that ends the string; -1 where there is none, or what no string holds. */
function stringEnd(source: Buffer, start: number, end: number): number {
  let at = start;
  for (;;) {
    while (at < end && PLAIN[source[at] as number] === 1) at++;
    if (at >= end) return -1;
    if (source[at] === 0x22) return at + 1;
    if (source[at] !== 0x5c || at + 1 >= end) return -1;
    const escaped = source[at + 1] as number;
    if (ESCAPABLE[escaped] === 1) at += 2;
    else if (escaped === 0x75 && at + 6 <= end && areHex(source, at + 2)) at += 6;
    else return -1;
  }
}

function areHex(source: Buffer, at: number): boolean {
  return (
    HEX[source[at] as number] === 1 &&
    HEX[source[at + 1] as number] === 1 &&
    HEX[source[at + 2] as number] === 1 &&
    HEX[source[at + 3] as number] === 1
  );
}

function wordEnd(source: Buffer, at: number, end: number, word: string): number {
  if (at + word.length > end) return -1;
  for (let i = 1; i < word.length; i++) if (source[at + i] !== word.charCodeAt(i)) return -1;
  return at + word.length;
}

function digitsEnd(source: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end && (source[at] as number) >= 0x30 && (source[at] as number) <= 0x39) at++;
  return at;
}

function numberEnd(source: Buffer, start: number, end: number): number {
  let at = start < end && source[start] === 0x2d ? start + 1 : start;
  const whole = at;
  at = digitsEnd(source, whole, end);
  if (at === whole || (source[whole] === 0x30 && at > whole + 1)) return -1;
  if (at < end && source[at] === 0x2e) {
    const fraction = at + 1;
    at = digitsEnd(source, fraction, end);
    if (at === fraction) return -1;
  }
  if (at < end && (source[at] === 0x65 || source[at] === 0x45)) {
    at++;
    if (at < end && (source[at] === 0x2b || source[at] === 0x2d)) at++;
    const exponent = at;
    at = digitsEnd(source, exponent, end);
    if (at === exponent) return -1;
  }
  return at;
}
