import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ByteInput, openFileInput, openStreamInput } from "../../src/document/reading/input.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "document-input-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function readAll(input: ByteInput, bufferBytes = 65536): Promise<Buffer> {
  const parts: Buffer[] = [];
  const buffer = Buffer.alloc(bufferBytes);
  try {
    for (;;) {
      const count = await input.read(buffer, 0);
      if (count === 0) return Buffer.concat(parts);
      parts.push(Buffer.from(buffer.subarray(0, count)));
    }
  } finally {
    await input.close();
  }
}

function pieces(bytes: Buffer, size: number): Readable {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
  return Readable.from(chunks);
}

const text = Buffer.from("one line of text, and more of it\n".repeat(3000));
/** A frame that decoders skip (RFC 8878, 3.1.2). */
const skippable = Buffer.concat([Buffer.from([0x51, 0x2a, 0x4d, 0x18, 5, 0, 0, 0]), Buffer.from("12345")]);

describe("inputs", () => {
  const cases = {
    plain: text,
    empty: Buffer.alloc(0),
    "one byte": Buffer.from("x"),
    gzip: gzipSync(text),
    "gzip in two members": Buffer.concat([gzipSync(text.subarray(0, 999)), gzipSync(text.subarray(999))]),
    zstd: zstdCompressSync(text),
    "zstd in two frames": Buffer.concat([
      zstdCompressSync(text.subarray(0, 999)),
      zstdCompressSync(text.subarray(999)),
    ]),
    "zstd behind a skippable frame": Buffer.concat([skippable, zstdCompressSync(text), skippable]),
  };
  const expected = (name: string) => (name === "empty" ? cases.empty : name === "one byte" ? cases["one byte"] : text);

  it.each(Object.entries(cases))("are read from a file and from a stream in pieces: %s", async (name, bytes) => {
    const path = join(folder, name);
    await writeFile(path, bytes);
    expect((await readAll(await openFileInput(path))).equals(expected(name))).toBe(true);
    for (const size of [1, 3, 1000, 1e6])
      expect((await readAll(await openStreamInput(pieces(bytes, size)), 777)).equals(expected(name))).toBe(true);
  });

  it("are refused as truncated wherever a compressed document is cut", async () => {
    for (const bytes of [cases["gzip in two members"], cases["zstd in two frames"], cases.gzip, cases.zstd]) {
      for (let cut = 4; cut < bytes.length; cut++) {
        const part = bytes.subarray(0, cut);
        const error = await openStreamInput(Readable.from([part]))
          .then((input) => readAll(input))
          .catch((thrown: unknown) => thrown);
        // A cut between two members leaves a complete document of fewer bytes: the reader sees that it stops too early.
        if (Buffer.isBuffer(error)) expect(error.length).toBeLessThan(text.length);
        else expect(error).toMatchObject({ code: "E_DOCUMENT_TRUNCATED" });
      }
    }
  });

  it("are refused as damaged, never read wrongly, when a byte of a gzip document is changed", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(cases.gzip.length - 11), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const bytes = Buffer.from(cases.gzip);
        bytes[10 + at] = (bytes[10 + at] as number) ^ change;
        const result = await openStreamInput(Readable.from([bytes]))
          .then((input) => readAll(input))
          .catch((thrown: { code?: string }) => thrown.code);
        if (Buffer.isBuffer(result)) expect(result.equals(text)).toBe(true);
        else expect(["E_DOCUMENT_COMPRESSION", "E_DOCUMENT_TRUNCATED"]).toContain(result);
      }),
    );
  });

  it("names a missing file, a folder, and garbage behind a compressed document", async () => {
    await expect(openFileInput(join(folder, "missing"))).rejects.toMatchObject({ code: "E_INPUT_NOT_FOUND" });
    await expect(openFileInput(folder)).rejects.toMatchObject({ code: "E_INPUT_NOT_FOUND" });
    for (const bytes of [cases.gzip, cases.zstd]) {
      const input = await openStreamInput(Readable.from([bytes, Buffer.from("garbage")]));
      await expect(readAll(input)).rejects.toMatchObject({ code: "E_DOCUMENT_COMPRESSION" });
    }
  });

  it("reads a FIFO", async () => {
    const path = join(folder, "fifo");
    execFileSync("mkfifo", [path]);
    const [read] = await Promise.all([
      openFileInput(path).then((input) => readAll(input)),
      writeFile(path, cases.gzip),
    ]);
    expect(read.equals(text)).toBe(true);
  });
});
