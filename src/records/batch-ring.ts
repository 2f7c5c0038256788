/**
 * Batches on their way from one thread to another, in memory that both see: slots that are filled and emptied in turn. A
 * message per batch would cost more than the batch's copy.
 */

import type { RecordKind } from "../catalog/index.js";
import { copyBytes } from "../codecs/byte-writer.js";
import { RecordBatch } from "./record-batch.js";

const SLOTS = 4;
/** What a slot holds at the most: most batches need a third of it, and memory that nobody touches is none. Bytes. */
const SLOT_BYTES = 1048576;
/** What of a LargeValue goes into a slot. Bytes. */
const PIECE_BYTES = 262144;
/** Of each slot: whether it is full, what it holds, and two numbers of that. */
const WORDS = 4;
const [STATE, TYPE, FIRST, SECOND] = [0, 1, 2, 3];
const EMPTY = 0;
const FULL = 1;
/** Before the bytes of a batch, and the field of its LargeValue from FIELD on. */
const HAS_LARGE = 1;
const HAS_ASSUMED = 2;
const PRINTED_BY_JSONB = 4;
const FIELD = 3;

/** What both threads see. */
export type RingMemory = SharedArrayBuffer;

export function createRingMemory(): RingMemory {
  return new SharedArrayBuffer(4 * WORDS * SLOTS + SLOTS * SLOT_BYTES);
}

/** Of what does not go through the ring as a batch. */
export function* piecesOf(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
  for (let from = 0; from < bytes.length; from += PIECE_BYTES) yield bytes.subarray(from, from + PIECE_BYTES);
}

class Ring {
  protected readonly control: Int32Array;
  /** The slot that is next. */
  protected next = 0;

  constructor(private readonly memory: RingMemory) {
    this.control = new Int32Array(memory, 0, WORDS * SLOTS);
  }

  /** Where the next slot's bytes begin. */
  protected get start(): number {
    return 4 * WORDS * SLOTS + this.next * SLOT_BYTES;
  }

  protected bytes(from: number, length: number): Buffer {
    return Buffer.from(this.memory, this.start + from, length) as unknown as Buffer;
  }

  protected words(from: number, length: number): Int32Array {
    return new Int32Array(this.memory, this.start + from, length);
  }

  protected word(word: number): number {
    return this.control[this.next * WORDS + word] as number;
  }

  protected setWord(word: number, value: number): void {
    this.control[this.next * WORDS + word] = value;
  }

  protected isIn(state: number): boolean {
    return Atomics.load(this.control, this.next * WORDS + STATE) === state;
  }

  /** The next slot is in the state, and the one behind it is next. */
  protected pass(state: number): void {
    Atomics.store(this.control, this.next * WORDS + STATE, state);
    Atomics.notify(this.control, this.next * WORDS + STATE);
    this.next = (this.next + 1) % SLOTS;
  }

  /** Resolves when the next slot may no longer be in the state. Who waits alone does not keep the process alive. */
  protected async leaves(state: number): Promise<void> {
    await Atomics.waitAsync(this.control, this.next * WORDS + STATE, state).value;
  }

  /** As leaves(), and nothing else happens in the thread meanwhile. */
  protected blockWhile(state: number): void {
    Atomics.wait(this.control, this.next * WORDS + STATE, state);
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array | Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** The side that fills. Nothing may be put where `hasRoom` is not so. */
export class RingWriter extends Ring {
  get hasRoom(): boolean {
    return this.isIn(EMPTY);
  }

  /** Resolves when there may be room. */
  room(): Promise<void> {
    return this.leaves(FULL);
  }

  /** Bytes, at most SLOT_BYTES. */
  put(type: number, bytes: Uint8Array): void {
    copyBytes(bytes, this.bytes(0, bytes.length), 0, 0, bytes.length);
    this.close(type, bytes.length, 0);
  }

  /** Whether a slot holds the batch. */
  takes({ rows, width, bytes, assumed }: RecordBatch): boolean {
    return rows * width * (assumed === undefined ? 8 : 9) + bytes.length + 4 <= SLOT_BYTES;
  }

  /** The batch but for the content of its LargeValue, and its kind, which a number stands for. */
  putBatch(type: number, kind: number, batch: RecordBatch): void {
    const { rows, width, bytes, starts, lengths, large, assumed, printedByJsonb } = batch;
    const values = rows * width;
    this.words(0, 1)[0] =
      (large === undefined ? 0 : HAS_LARGE) |
      (assumed === undefined ? 0 : HAS_ASSUMED) |
      (printedByJsonb === true ? PRINTED_BY_JSONB : 0) |
      ((large?.field ?? 0) << FIELD);
    const from = 8 * values + 4;
    const { length } = bytes;
    const target = this.bytes(0, from + (assumed === undefined ? 0 : values) + length);
    copyBytes(bytesOf(starts), target, 4, 0, 4 * values);
    copyBytes(bytesOf(lengths), target, 4 + 4 * values, 0, 4 * values);
    if (assumed !== undefined) copyBytes(assumed, target, from, 0, values);
    copyBytes(bytes, target, target.length - length, 0, length);
    this.setWord(FIRST, rows);
    this.close(type, length, kind);
  }

  private close(type: number, bytes: number, kind: number): void {
    this.setWord(TYPE, type + 256 * kind);
    this.setWord(SECOND, bytes);
    this.pass(FULL);
  }
}

/** The side that empties. What it gives is valid until `release`, and is asked for when `hasNext` is so. */
export class RingReader extends Ring {
  get hasNext(): boolean {
    return this.isIn(FULL);
  }

  /** Resolves when there may be something. */
  arrival(): Promise<void> {
    return this.leaves(EMPTY);
  }

  /** Blocks the thread until there is something. */
  awaitNext(): void {
    while (!this.hasNext) this.blockWhile(EMPTY);
  }

  get type(): number {
    return this.word(TYPE) % 256;
  }

  /** Of a batch. */
  get kind(): number {
    return this.word(TYPE) >> 8;
  }

  /** What `put` was given. */
  content(): Buffer {
    return this.bytes(0, this.word(SECOND));
  }

  /** What `putBatch` was given. `large`: makes the LargeValue of a field. */
  batch(kind: RecordKind, large?: (field: number) => RecordBatch["large"]): RecordBatch {
    const rows = this.word(FIRST);
    const length = this.word(SECOND);
    const values = rows * kind.fields.length;
    const words = this.words(0, 2 * values + 1);
    const flags = words[0] as number;
    const from = 8 * values + 4;
    const hasAssumed = (flags & HAS_ASSUMED) !== 0;
    const value = (flags & HAS_LARGE) === 0 ? undefined : large?.(flags >> FIELD);
    return new RecordBatch(
      kind,
      rows,
      this.bytes(from + (hasAssumed ? values : 0), length),
      new Uint32Array(words.buffer, words.byteOffset + 4, values) as Uint32Array,
      words.subarray(values + 1),
      value,
      hasAssumed ? this.bytes(from, values) : undefined,
      undefined,
      undefined,
      (flags & PRINTED_BY_JSONB) !== 0,
    );
  }

  /** The slot may be filled again. */
  release(): void {
    this.pass(EMPTY);
  }
}
