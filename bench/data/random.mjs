// Seeded randomness: the i-th row of a table is a function of the table's number and i alone.
import { createCipheriv } from "node:crypto";

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** sfc32, seeded per row. */
export class RowRandom {
  constructor(table, row) {
    this.a = Math.imul(table + 1, 0x9e3779b1);
    this.b = Math.imul(row + 1, 0x85ebca6b);
    this.c = row ^ 0xc2b2ae35;
    this.counter = 1;
    for (let i = 0; i < 8; i++) this.uint32();
  }

  uint32() {
    const t = (((this.a + this.b) | 0) + this.counter++) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + t) | 0;
    return t >>> 0;
  }

  /** An integer in [low, high]. */
  int(low, high) {
    return low + (this.uint32() % (high - low + 1));
  }

  chance(probability) {
    return this.uint32() < probability * 2 ** 32;
  }

  pick(items) {
    return items[this.uint32() % items.length];
  }

  hex(bytes) {
    let text = "";
    for (let i = 0; i < bytes; i += 4) {
      const word = this.uint32();
      text += HEX[word & 255] + HEX[(word >>> 8) & 255] + HEX[(word >>> 16) & 255] + HEX[word >>> 24];
    }
    return text;
  }

  uuid() {
    const hex = this.hex(16);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
  }
}

const VOCABULARY = 4096;
const TEXT_BYTES = 32 * 1048576;

/** Pools that values are cut from: text of words, random bytes and normally distributed floats. Made once, in a second. */
export class Pools {
  constructor() {
    const random = new RowRandom(1000, 0);
    const words = Array.from({ length: VOCABULARY }, () =>
      Buffer.from(
        `${Array.from({ length: random.int(2, 9) }, () => "etaoinshrdlucmfwypvbgk"[random.int(0, 21)]).join("")} `,
      ),
    );
    this.words = Buffer.alloc(TEXT_BYTES, " ");
    for (let at = 0; at < TEXT_BYTES - 16; ) {
      // The product of two uniform numbers: some words are far more frequent than others.
      const [x, y] = [random.uint32() / 2 ** 32, random.uint32() / 2 ** 32];
      at += words[Math.floor(x * y * VOCABULARY)].copy(this.words, at);
    }
    this.noise = createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16)).update(Buffer.alloc(TEXT_BYTES));
    this.normal = new Float32Array(1048576);
    for (let i = 0; i < this.normal.length; i += 2) {
      const radius = Math.sqrt(-2 * Math.log((random.uint32() + 1) / (2 ** 32 + 1)));
      const angle = (2 * Math.PI * random.uint32()) / 2 ** 32;
      this.normal[i] = radius * Math.cos(angle);
      this.normal[i + 1] = radius * Math.sin(angle);
    }
  }

  text(random, length) {
    const at = random.int(0, TEXT_BYTES - length);
    return this.words.latin1Slice(at, at + length);
  }

  /** Text or noise, whichever the row's number says. Longer than a pool: again and again. */
  bytes(random, length, compressible) {
    const pool = compressible ? this.words : this.noise;
    if (length <= TEXT_BYTES) {
      const at = random.int(0, TEXT_BYTES - length);
      return pool.subarray(at, at + length);
    }
    return Buffer.alloc(length, pool);
  }

  /** About of unit length, as embeddings are. No two vectors are of the same numbers. */
  vector(random, dimension) {
    const at = random.int(0, this.normal.length - dimension);
    const scale = (0.9 + random.uint32() / 2 ** 32 / 5) / Math.sqrt(dimension);
    const vector = new Float32Array(dimension);
    for (let i = 0; i < dimension; i++) vector[i] = this.normal[at + i] * scale;
    return Buffer.from(vector.buffer);
  }
}
