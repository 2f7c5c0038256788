/**
 * json as PostgreSQL's jsonb prints it, made of the text alone: keys by length and bytes, the last of equal keys, `": "` and
 * `", "`, escapes only where there must be some, numbers written out with their scale (json-number.ts).
 *
 * What jsonb cannot hold has a form of its own kind: U+0000 and lone surrogates stay escapes, numbers of many digits are
 * digits and exponent. Nothing is longer than its text allows, and the work is linear in it, however deep it is.
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

/** Of each member of the open objects: where its key begins and ends, and its value ends, in the text that is written. */
const MEMBER = 3;
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
  private text = new ByteWriter(4096);
  private ordered = new ByteWriter(0);
  private members: Int32Array<ArrayBuffer> = new Int32Array(64 * MEMBER);
  private memberCount = 0;
  private containers: Int32Array<ArrayBuffer> = new Int32Array(16 * CONTAINER);
  private depth = 0;
  private readonly reordered: Reordered[] = [];
  /** Of the members of those, in order: from and to in the text. */
  private readonly moved: number[] = [];
  /** A key of this value holds an escape: its bytes are not its characters. */
  private hasEscapedKeys = false;

  /** Of the valid JSON text `source[start, start + length)`; valid until the next call. E_INVALID_JSON. */
  of(source: Buffer, start: number, length: number): Buffer {
    if (this.text.bytes.length > KEPT_BYTES) this.text = new ByteWriter(4096);
    if (this.ordered.bytes.length > KEPT_BYTES) this.ordered = new ByteWriter(0);
    if (this.members.length > KEPT_BYTES) this.members = new Int32Array(64 * MEMBER);
    this.text.length = 0;
    this.memberCount = 0;
    this.depth = 0;
    this.reordered.length = 0;
    this.moved.length = 0;
    this.hasEscapedKeys = false;
    this.write(source, start, start + length);
    if (this.reordered.length === 0) return this.text.view();
    this.putInOrder();
    return this.ordered.view();
  }

  /** Writes the value with its members in the order of the source. */
  private write(source: Buffer, start: number, end: number): void {
    const { text } = this;
    let at = start;
    for (;;) {
      // A value, or the end of an empty container.
      at = skipSpace(source, at, end);
      const byte = at < end ? (source[at] as number) : 0;
      if (byte === QUOTE) {
        at = this.writeString(source, at, end);
      } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        this.open(byte);
        at = skipSpace(source, at + 1, end);
        const closer = byte === OPEN_OBJECT ? CLOSE_OBJECT : CLOSE_ARRAY;
        if (source[at] !== closer || at >= end) {
          if (byte === OPEN_OBJECT) at = this.writeKey(source, at, end);
          continue;
        }
        this.close(closer);
        at++;
      } else if (SCALAR[byte] === 1) {
        at = this.writeScalar(source, at, end);
      } else {
        throw invalid();
      }
      // Behind a value: what closes, and then what comes next.
      for (;;) {
        at = skipSpace(source, at, end);
        if (this.depth === 0) {
          if (at < end) throw invalid();
          return;
        }
        const isObject = this.isInObject();
        if (isObject) this.members[this.memberCount * MEMBER - 1] = text.length;
        const next = at < end ? source[at] : 0;
        at++;
        if (next === COMMA) {
          text.byte(COMMA);
          text.byte(0x20);
          if (isObject) at = this.writeKey(source, skipSpace(source, at, end), end);
          break;
        }
        if (next !== (isObject ? CLOSE_OBJECT : CLOSE_ARRAY)) throw invalid();
        this.close(next);
      }
    }
  }

  private isInObject(): boolean {
    return (this.containers[(this.depth - 1) * CONTAINER + 1] as number) >= 0;
  }

  private open(byte: number): void {
    const at = this.depth++ * CONTAINER;
    if (at + CONTAINER > this.containers.length) this.containers = grown(this.containers);
    this.containers[at] = this.text.length;
    this.containers[at + 1] = byte === OPEN_OBJECT ? this.memberCount : -1;
    this.containers[at + 2] = 1;
    this.text.byte(byte);
  }

  private close(closer: number): void {
    this.text.byte(closer);
    const at = --this.depth * CONTAINER;
    const first = this.containers[at + 1] as number;
    if (first < 0) return;
    if (this.containers[at + 2] === 0) this.reorder(this.containers[at] as number, first);
    this.memberCount = first;
  }

  /** A key and its colon; the index behind them. */
  private writeKey(source: Buffer, start: number, end: number): number {
    if (start >= end || source[start] !== QUOTE) throw invalid();
    const { text } = this;
    const keyStart = text.length;
    const keyEnd = skipSpace(source, this.writeString(source, start, end, true), end);
    const index = this.memberCount++;
    const at = index * MEMBER;
    if (at + MEMBER > this.members.length) this.members = grown(this.members);
    this.members[at] = keyStart;
    this.members[at + 1] = text.length;
    const container = (this.depth - 1) * CONTAINER;
    if (index > (this.containers[container + 1] as number) && this.compareKeys(index - 1, index) >= 0)
      this.containers[container + 2] = 0;
    if (keyEnd >= end || source[keyEnd] !== COLON) throw invalid();
    text.byte(COLON);
    text.byte(0x20);
    return keyEnd + 1;
  }

  /** A string; the index behind it. */
  private writeString(source: Buffer, start: number, end: number, isKey = false): number {
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
    if (!isEscaped) {
      this.text.copy(source, start, at);
      return at;
    }
    // Escapes only what must be, lone surrogates too.
    const plain = JSON.stringify(JSON.parse(source.toString("utf8", start, at)));
    this.text.utf8(plain);
    if (isKey && plain.includes("\\")) this.hasEscapedKeys = true;
    return at;
  }

  /** A number or a literal; the index behind it. */
  private writeScalar(source: Buffer, start: number, end: number): number {
    let at = start;
    let hasExponent = false;
    for (; at < end; at++) {
      const byte = source[at] as number;
      if (SCALAR[byte] === 0) break;
      if (EXPONENT[byte] === 1) hasExponent = true;
    }
    const first = source[start] as number;
    if (first > 0x39) {
      this.text.copy(source, start, at);
      return at;
    }
    const mayBeMinusZero = first === MINUS && source[start + 1] === ZERO;
    if (!hasExponent && !mayBeMinusZero && at - start <= PLAIN_CHARACTERS) this.text.copy(source, start, at);
    else this.text.latin1(numberMeaning(source.toString("latin1", start, at)));
    return at;
  }

  /** As jsonb orders them: the shorter first, then by bytes; 0 for equal keys. */
  private compareKeys(a: number, b: number): number {
    const { members } = this;
    const aStart = members[a * MEMBER] as number;
    const aEnd = members[a * MEMBER + 1] as number;
    const bStart = members[b * MEMBER] as number;
    const bEnd = members[b * MEMBER + 1] as number;
    const { bytes } = this.text;
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
    this.reordered.push({ start, end: this.text.length, from, to: this.moved.length });
  }

  /** Copies the text to `ordered`, the members of each object in their order; every byte once. */
  private putInOrder(): void {
    const { text, moved, reordered } = this;
    const objects = reordered.sort((a, b) => a.start - b.start);
    const out = this.ordered;
    out.length = 0;
    out.ensure(text.length);
    /** What is still to be copied, the next on top: from and to in the text, or twice SEPARATOR. */
    const left: number[] = [0, text.length];
    while (left.length > 0) {
      const end = left.pop() as number;
      const start = left.pop() as number;
      if (start === SEPARATOR) {
        out.byte(COMMA);
        out.byte(0x20);
        continue;
      }
      const object = objects[firstFrom(objects, start)];
      if (object === undefined || object.start >= end) {
        out.copy(text.bytes, start, end);
        continue;
      }
      out.copy(text.bytes, start, object.start + 1);
      // The closing brace, and what is behind it.
      left.push(object.end - 1, end);
      for (let i = object.to - 2; i >= object.from; i -= 2) {
        left.push(moved[i] as number, moved[i + 1] as number);
        if (i > object.from) left.push(SEPARATOR, SEPARATOR);
      }
    }
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

function skipSpace(source: Buffer, from: number, end: number): number {
  let at = from;
  while (at < end && (source[at] as number) <= 0x20) at++;
  return at;
}

function grown(table: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(table.length * 2);
  larger.set(table);
  return larger;
}

function invalid(): StorageError {
  return new StorageError("E_INVALID_JSON", "the text is not valid JSON");
}
