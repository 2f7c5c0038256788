/**
 * Seeded values for sample databases: the same seed gives the same values on every machine. Nothing here comes from src,
 * so that a mistake there cannot hide in the data.
 */
import { type Cipheriv, createCipheriv, createHash } from "node:crypto";

/** A seeded random stream (AES-CTR's key stream: fast enough for gigabytes). */
export class SampleRandom {
  private readonly cipher: Cipheriv;
  private block = Buffer.alloc(0);
  private at = 0;

  constructor(seed: string) {
    this.cipher = createCipheriv("aes-128-ctr", createHash("md5").update(seed).digest(), Buffer.alloc(16));
  }

  uint32(): number {
    if (this.at + 4 > this.block.length) {
      this.block = this.cipher.update(Buffer.alloc(16384));
      this.at = 0;
    }
    this.at += 4;
    return this.block.readUInt32LE(this.at - 4);
  }

  /** An integer in [low, high]. */
  int(low: number, high: number): number {
    return low + (this.uint32() % (high - low + 1));
  }

  chance(probability: number): boolean {
    return this.uint32() / 2 ** 32 < probability;
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.uint32() % items.length] as Item;
  }

  bytes(length: number): Buffer {
    return this.cipher.update(Buffer.alloc(length));
  }
}

/** Text that tools are known to get wrong; PostgreSQL holds every one. */
export const UNICODE_SAMPLES: readonly string[] = [
  "plain",
  "",
  "naïve café",
  "e\u0301 a\u0308 combining",
  "😀 🧑‍🚀 𝄞 four bytes",
  "שלום עולם right to left",
  "مرحبا\u202bbidi\u202c",
  "租户与会话",
  "a,b;c\td\ne\r\nf",
  "quotes \" ' ` and \\ backslash",
  "\u0001\u001f\u007f\u0085 controls",
  "\u2028\u2029 line separators",
  "\ufeffbyte order mark",
  "\ufffd replacement \uffff \u{10ffff}",
  "NULL",
  "null",
  "{}",
  "\\N",
  "\\u0041 is no escape",
  "  spaces kept  ",
  "<a href='x'>&amp;</a>",
  "ﬀ ligature İıŞş",
];

/** Text of at most `limit` code points. */
export function sampleText(random: SampleRandom, limit = 200): string {
  const text = `${random.pick(UNICODE_SAMPLES)} ${random.uint32().toString(36)} ${random.pick(UNICODE_SAMPLES)}`;
  const points = [...text];
  return points.length <= limit ? text : points.slice(0, limit).join("");
}

/**
 * How json is written: "jsonb" exactly as PostgreSQL's jsonb prints it, so that it is byte-identical from the first
 * document on; "free" with the white space, key order, number forms and escapes that jsonb would normalise.
 */
export type JsonForm = "jsonb" | "free";

/** Numbers a double cannot hold, or that a parser would reprint. Never -0: jsonb drops its sign. */
const JSON_NUMBERS = {
  jsonb: ["0", "-1", "1.10", "12345678901234567890", "0.1000000000000000055", "9223372036854775807", "-0.5", "100"],
  free: ["0", "-1", "1.10", "12345678901234567890", "1e2", "1.5E-7", "1e400", "0.1000000000000000055", "1E+30"],
} as const;

function stringToken(text: string, form: JsonForm, random: SampleRandom): string {
  if (form === "free" && random.chance(0.3)) {
    return `"${[...text].map((point) => (point.charCodeAt(0) < 0x20 || random.chance(0.3) ? escaped(point) : literal(point))).join("")}"`;
  }
  return `"${[...text].map(literal).join("")}"`;
}

/** As jsonb prints a character of a string. */
function literal(point: string): string {
  return JSON.stringify(point).slice(1, -1);
}

function escaped(point: string): string {
  return [...Array(point.length).keys()]
    .map((unit) => `\\u${point.charCodeAt(unit).toString(16).padStart(4, "0")}`)
    .join("");
}

function scalarToken(random: SampleRandom, form: JsonForm): string {
  switch (random.int(0, 5)) {
    case 0:
      return "null";
    case 1:
      return random.chance(0.5) ? "true" : "false";
    case 2:
    case 3:
      return random.pick(JSON_NUMBERS[form]);
    default:
      return stringToken(random.pick(UNICODE_SAMPLES), form, random);
  }
}

/** jsonb's order of keys: by length in bytes, then bytewise. */
function compareKeys(a: string, b: string): number {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length - right.length || Buffer.compare(left, right);
}

/** A json object with the given members (tokens), in the form asked for. */
export function objectToken(members: Readonly<Record<string, string>>, form: JsonForm, random: SampleRandom): string {
  const keys = Object.keys(members);
  if (form === "jsonb") keys.sort(compareKeys);
  const [comma, colon] =
    form === "jsonb"
      ? [", ", ": "]
      : random.pick([[", ", ": "] as const, [",", ":"] as const, [" , ", "\n:\t"] as const]);
  return `{${keys.map((key) => `${stringToken(key, "jsonb", random)}${colon}${members[key]}`).join(comma)}}`;
}

function valueToken(random: SampleRandom, form: JsonForm, depth: number): string {
  if (depth === 0 || random.chance(0.4)) return scalarToken(random, form);
  const size = random.int(0, 3);
  if (random.chance(0.5)) {
    const items = Array.from({ length: size }, () => valueToken(random, form, depth - 1));
    return `[${items.join(form === "jsonb" || random.chance(0.5) ? ", " : ",")}]`;
  }
  const members: Record<string, string> = {};
  for (let i = 0; i < size; i++) members[random.pick(UNICODE_SAMPLES)] = valueToken(random, form, depth - 1);
  return objectToken(members, form, random);
}

/** The deepest json: jq 1.6 reads no document deeper than 256. */
const DEEPEST = 150;

/** An object of some tens to some hundreds of bytes, plus a text of `padding` bytes. One in 50 is nested deeply. */
export function sampleJson(random: SampleRandom, form: JsonForm, padding = 0): string {
  const members: Record<string, string> = {
    n: random.pick(JSON_NUMBERS[form]),
    text: stringToken(random.pick(UNICODE_SAMPLES), form, random),
    värde: valueToken(random, form, 3),
  };
  if (random.chance(0.02)) members["deep"] = `${"[".repeat(DEEPEST)}1.10${"]".repeat(DEEPEST)}`;
  if (padding > 0) members["padding"] = `"${random.bytes(Math.ceil((padding * 3) / 4)).toString("base64url")}"`;
  return objectToken(members, form, random);
}

/** Tags of every awkward sort: the word NULL and null, commas, quotes, an empty list and none. */
export function sampleTags(random: SampleRandom): (string | null)[] | null {
  if (random.chance(0.15)) return null;
  const pool = ["NULL", null, "a,b", 'say "hi"', "back\\slash", "", "{}", "{a}", " ", "null", ...UNICODE_SAMPLES];
  return Array.from({ length: random.int(0, 4) }, () => random.pick(pool));
}

/** Tags, among values of other types. */
export function isTags(value: unknown): value is readonly (string | null)[] {
  return Array.isArray(value);
}

/** float32 values in the usual range, with edges: -0, denormals, the largest. */
export function sampleVector(random: SampleRandom, dimension: number): Float32Array {
  const bytes = random.bytes(dimension * 4);
  const vector = new Float32Array(dimension);
  for (let i = 0; i < dimension; i++) vector[i] = bytes.readInt32LE(i * 4) / 2 ** 31;
  if (random.chance(0.05))
    vector.set([-0, 1e-45, -1.1754943508222875e-38, 3.4028234663852886e38], random.int(0, dimension - 4));
  return vector;
}

/** Microseconds since the Unix epoch. */
export type SampleTime = bigint | "infinity" | "-infinity";

/** 4713-11-24 BC and 294276-12-31 23:59:59.999999: PostgreSQL's first and last microsecond. */
export const FIRST_TIME = -210866803200000000n;
export const LAST_TIME = 9224318015999999999n;

const MICROSECONDS_PER_DAY = 86400000000n;

/** PostgreSQL's text of a time, at any year (days to civil date: the algorithm of howardhinnant.github.io/date_algorithms). */
export function postgresTime(time: SampleTime): string {
  if (typeof time === "string") return time;
  let rest = time % MICROSECONDS_PER_DAY;
  if (rest < 0n) rest += MICROSECONDS_PER_DAY;
  const days = Number((time - rest) / MICROSECONDS_PER_DAY) + 719468;
  const era = Math.floor(days / 146097);
  const dayOfEra = days - era * 146097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36524) - Math.floor(dayOfEra / 146096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shifted = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * shifted + 2) / 5) + 1;
  const month = shifted < 10 ? shifted + 3 : shifted - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const seconds = Number(rest / 1000000n);
  const two = (value: number): string => String(value).padStart(2, "0");
  const clock = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  const date = `${String(year > 0 ? year : 1 - year).padStart(4, "0")}-${two(month)}-${two(day)}`;
  return `${date} ${clock}.${String(rest % 1000000n).padStart(6, "0")}+00${year > 0 ? "" : " BC"}`;
}

/** llmspell's own seconds, floored, with its sentinels for the infinities. */
export function sqliteTime(time: SampleTime): bigint {
  if (time === "infinity") return 9999999999n;
  if (time === "-infinity") return -9999999999n;
  const quotient = time / 1000000n;
  return time < 0n && quotient * 1000000n !== time ? quotient - 1n : quotient;
}
