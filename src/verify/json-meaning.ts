/**
 * json as PostgreSQL's jsonb prints it, made of the text alone: keys by length and bytes, the last of equal keys, `": "` and
 * `", "`, escapes only where there must be some, numbers written out with their scale (json-number.ts).
 *
 * What jsonb cannot hold has a form of its own kind: U+0000 and lone surrogates stay escapes, numbers of many digits are
 * digits and exponent. Nothing is longer than its text allows, and the work is linear in it, however deep it is.
 *
 * Over 300 lines: one pass over the text, whose steps share what is open.
 */
import { ByteWriter } from "../codecs/byte-writer.js";
import { StorageError } from "../errors.js";
import { numberMeaning, PLAIN_CHARACTERS } from "./json-number.js";

/** Memory that one long value made grow beyond this is given back. Bytes. */
const KEPT_BYTES = 1048576;

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const ZERO = 0x30;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** 1 for the bytes of numbers and literals. */
const SCALAR = new Uint8Array(256);
for (const byte of Buffer.from("+-.0123456789Eaeflnrstu")) SCALAR[byte] = 1;
/** 1 for the bytes that only a number with an exponent has. */
const EXPONENT = new Uint8Array(256);
EXPONENT[0x45] = 1;
EXPONENT[0x65] = 1;

/**
 * Of each member of the open objects: where its key begins and ends in what is written, where its value ends there, and
 * where the key stands in the source (the end is -1 for one with escapes).
 */
const MEMBER = 5;
/** Of each open container: where it begins, its first member (-1: an array), and whether its keys are in order so far. */
const CONTAINER = 3;
/** Between the members of an object that is put in order. */
const SEPARATOR = -1;

/** An object whose members are not in order: where it begins and ends in the text, and its members in `moved`. */
interface Reordered {
  readonly start: number;
  readonly end: number;
  readonly from: number;
  readonly to: number;
}

/** Work space for one value after the other. */
export class JsonMeaning {
  private out = new ByteWriter(0);
  private ordered = new ByteWriter(0);
  private source: Buffer = this.out.bytes;
  private end = 0;
  /** What of the source is as it should be from here on, and is still to be copied. */
  private copiedTo = 0;
  private members: Int32Array<ArrayBuffer> = new Int32Array(64 * MEMBER);
  private memberCount = 0;
  private containers: Int32Array<ArrayBuffer> = new Int32Array(16 * CONTAINER);
  private depth = 0;
  private readonly reordered: Reordered[] = [];
  /** Of the members of those, in order: from and to in what is written. */
  private readonly moved: number[] = [];
  /** A key of this value holds an escape: its bytes are not its characters. */
  private hasEscapedKeys = false;

  /** Appends the meaning of the valid JSON text `source[start, start + length)`. E_INVALID_JSON. */
  write(source: Buffer, start: number, length: number, out: ByteWriter): void {
    this.out = out;
    this.source = source;
    this.end = start + length;
    this.memberCount = 0;
    this.depth = 0;
    this.hasEscapedKeys = false;
    this.reordered.length = 0;
    this.moved.length = 0;
    const from = out.length;
    this.copiedTo = this.skipSpace(start);
    this.copy(this.writeValue(this.copiedTo));
    if (this.reordered.length > 0) this.putInOrder(from);
    if (this.members.length > KEPT_BYTES) this.members = new Int32Array(64 * MEMBER);
  }

  /** Where what stands at `at` in the source will stand in what is written. */
  private place(at: number): number {
    return this.out.length + at - this.copiedTo;
  }

  /** Copies the source up to `at`. */
  private copy(at: number): void {
    this.out.copy(this.source, this.copiedTo, at);
    this.copiedTo = at;
  }

  private skipSpace(from: number): number {
    const { source, end } = this;
    let at = from;
    while (at < end && (source[at] as number) <= 0x20) at++;
    return at;
  }

  /** As skipSpace; the white space becomes one blank, or none. */
  private space(from: number, isBlank: boolean): number {
    const at = this.skipSpace(from);
    if (at === from ? !isBlank : isBlank && at === from + 1 && this.source[from] === 0x20) return at;
    this.copy(from);
    if (isBlank) this.out.byte(0x20);
    this.copiedTo = at;
    return at;
  }

  /** The value with its members in the order of the source; the index behind it. */
  private writeValue(start: number): number {
    const { source, end } = this;
    let at = start;
    for (;;) {
      const byte = at < end ? (source[at] as number) : 0;
      if (byte === QUOTE) {
        at = this.writeString(at, false);
      } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        this.open(byte, at);
        at = this.space(at + 1, false);
        const closer = byte === OPEN_OBJECT ? CLOSE_OBJECT : CLOSE_ARRAY;
        if (at >= end || source[at] !== closer) {
          if (byte === OPEN_OBJECT) at = this.writeKey(at);
          continue;
        }
        this.close(++at);
      } else if (SCALAR[byte] === 1) {
        at = this.writeScalar(at);
      } else {
        throw invalid();
      }
      // Behind a value: what closes, and then what comes next.
      for (;;) {
        if (this.depth === 0) {
          if (this.skipSpace(at) < end) throw invalid();
          return at;
        }
        const isObject = (this.containers[(this.depth - 1) * CONTAINER + 1] as number) >= 0;
        if (isObject) this.members[(this.memberCount - 1) * MEMBER + 2] = this.place(at);
        at = this.space(at, false);
        const next = at < end ? source[at] : 0;
        at++;
        if (next === COMMA) {
          at = this.space(at, true);
          if (isObject) at = this.writeKey(at);
          break;
        }
        if (next !== (isObject ? CLOSE_OBJECT : CLOSE_ARRAY)) throw invalid();
        this.close(at);
      }
    }
  }

  private open(byte: number, start: number): void {
    const at = this.depth++ * CONTAINER;
    if (at + CONTAINER > this.containers.length) this.containers = grown(this.containers);
    this.containers[at] = this.place(start);
    this.containers[at + 1] = byte === OPEN_OBJECT ? this.memberCount : -1;
    this.containers[at + 2] = 1;
  }

  /** `end` is behind the closing byte. */
  private close(end: number): void {
    const at = --this.depth * CONTAINER;
    const first = this.containers[at + 1] as number;
    if (first < 0) return;
    if (this.containers[at + 2] === 0) {
      this.copy(end);
      this.reorder(this.containers[at] as number, first);
    }
    this.memberCount = first;
  }

  /** A key, its colon and a blank; the index behind them. */
  private writeKey(start: number): number {
    const { source, end } = this;
    if (start >= end || source[start] !== QUOTE) throw invalid();
    const index = this.memberCount++;
    const at = index * MEMBER;
    if (at + MEMBER > this.members.length) this.members = grown(this.members);
    const { members } = this;
    members[at] = this.place(start);
    const keyEnd = this.writeString(start, true);
    members[at + 1] = this.place(keyEnd);
    members[at + 3] = start;
    // An escape was copied, and nothing since.
    members[at + 4] = this.copiedTo === keyEnd ? -1 : keyEnd;
    const container = (this.depth - 1) * CONTAINER;
    if (index > (this.containers[container + 1] as number) && !this.isBefore(index - 1, index, keyEnd))
      this.containers[container + 2] = 0;
    const colon = this.space(keyEnd, false);
    if (colon >= end || source[colon] !== COLON) throw invalid();
    return this.space(colon + 1, true);
  }

  /** Whether the key stands before the next one, which ends at `keyEnd` and may not be copied yet. */
  private isBefore(a: number, b: number, keyEnd: number): boolean {
    const { members, source } = this;
    const aStart = members[a * MEMBER + 3] as number;
    const aEnd = members[a * MEMBER + 4] as number;
    const bStart = members[b * MEMBER + 3] as number;
    const bEnd = members[b * MEMBER + 4] as number;
    if (aEnd < 0 || bEnd < 0) {
      this.copy(keyEnd);
      return this.compareKeys(a, b) < 0;
    }
    const difference = aEnd - aStart - (bEnd - bStart);
    if (difference !== 0) return difference < 0;
    for (let i = aStart, j = bStart; i < aEnd; i++, j++) {
      const difference = (source[i] as number) - (source[j] as number);
      if (difference !== 0) return difference < 0;
    }
    return false;
  }

  /** A string; the index behind it. What has an escape is copied. */
  private writeString(start: number, isKey: boolean): number {
    const { source, end } = this;
    let at = start + 1;
    let isEscaped = false;
    for (; at < end; at++) {
      const byte = source[at] as number;
      if (byte === QUOTE) break;
      if (byte !== BACKSLASH) continue;
      isEscaped = true;
      at++;
    }
    if (at >= end) throw invalid();
    at++;
    if (!isEscaped) return at;
    // Escapes only what must be, lone surrogates too.
    const plain = JSON.stringify(JSON.parse(source.toString("utf8", start, at)));
    this.copy(start);
    this.out.utf8(plain);
    this.copiedTo = at;
    if (isKey && plain.includes("\\")) this.hasEscapedKeys = true;
    return at;
  }

  /** A number or a literal; the index behind it. */
  private writeScalar(start: number): number {
    const { source, end } = this;
    let at = start;
    let hasExponent = false;
    for (; at < end; at++) {
      const byte = source[at] as number;
      if (SCALAR[byte] === 0) break;
      if (EXPONENT[byte] === 1) hasExponent = true;
    }
    const first = source[start] as number;
    if (first > 0x39) return at;
    const mayBeMinusZero = first === MINUS && source[start + 1] === ZERO;
    if (!hasExponent && !mayBeMinusZero && at - start <= PLAIN_CHARACTERS) return at;
    this.copy(start);
    this.out.latin1(numberMeaning(source.toString("latin1", start, at)));
    this.copiedTo = at;
    return at;
  }

  /** As jsonb orders them: the shorter first, then by bytes; 0 for equal keys. */
  private compareKeys(a: number, b: number): number {
    const { members } = this;
    const aStart = members[a * MEMBER] as number;
    const aEnd = members[a * MEMBER + 1] as number;
    const bStart = members[b * MEMBER] as number;
    const bEnd = members[b * MEMBER + 1] as number;
    const { bytes } = this.out;
    if (this.hasEscapedKeys) {
      const aKey = Buffer.from(JSON.parse(bytes.toString("utf8", aStart, aEnd)));
      const bKey = Buffer.from(JSON.parse(bytes.toString("utf8", bStart, bEnd)));
      const difference = aKey.length - bKey.length || aKey.compare(bKey);
      // Lone surrogates look alike in UTF-8, but not as escapes.
      if (difference !== 0) return difference;
    }
    const difference = aEnd - aStart - (bEnd - bStart);
    if (difference !== 0) return difference;
    for (let i = aStart, j = bStart; i < aEnd; i++, j++) {
      const difference = (bytes[i] as number) - (bytes[j] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  }

  /** Notes the order of the members of the object that ends here, without those that a later one replaces. */
  private reorder(start: number, first: number): void {
    const order = Array.from({ length: this.memberCount - first }, (_, index) => first + index);
    // Of equal keys the last comes first.
    order.sort((a, b) => this.compareKeys(a, b) || b - a);
    const from = this.moved.length;
    let previous = -1;
    for (const member of order) {
      if (previous >= 0 && this.compareKeys(previous, member) === 0) continue;
      previous = member;
      this.moved.push(this.members[member * MEMBER] as number, this.members[member * MEMBER + 2] as number);
    }
    this.reordered.push({ start, end: this.out.length, from, to: this.moved.length });
  }

  /** Puts the members of each object in their order; every byte is copied twice. */
  private putInOrder(from: number): void {
    const { out, ordered, moved } = this;
    const objects = this.reordered.sort((a, b) => a.start - b.start);
    ordered.length = 0;
    /** What is still to be copied, the next on top: from and to in what is written, or twice SEPARATOR. */
    const left: number[] = [from, out.length];
    while (left.length > 0) {
      const end = left.pop() as number;
      const start = left.pop() as number;
      if (start === SEPARATOR) {
        ordered.byte(COMMA);
        ordered.byte(0x20);
        continue;
      }
      const object = objects[firstFrom(objects, start)];
      if (object === undefined || object.start >= end) {
        ordered.copy(out.bytes, start, end);
        continue;
      }
      ordered.copy(out.bytes, start, object.start + 1);
      // The closing brace, and what is behind it.
      left.push(object.end - 1, end);
      for (let i = object.to - 2; i >= object.from; i -= 2) {
        left.push(moved[i] as number, moved[i + 1] as number);
        if (i > object.from) left.push(SEPARATOR, SEPARATOR);
      }
    }
    out.length = from;
    out.copy(ordered.bytes, 0, ordered.length);
    if (ordered.bytes.length > KEPT_BYTES) this.ordered = new ByteWriter(0);
  }
}

/** The index of the first that begins at `start` or behind it. */
function firstFrom(objects: readonly Reordered[], start: number): number {
  let low = 0;
  let high = objects.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((objects[middle] as Reordered).start < start) low = middle + 1;
    else high = middle;
  }
  return low;
}

function grown(table: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(table.length * 2);
  larger.set(table);
  return larger;
}

function invalid(): StorageError {
  return new StorageError("E_INVALID_JSON", "the text is not valid JSON");
}
