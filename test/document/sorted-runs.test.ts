/** Runs in a temporary file, merged at once or in several passes: all entries in order, whatever their number and length. */
import { expect, it } from "vitest";
import { SortedRuns } from "../../src/document/files/sorted-runs.js";
import { SampleRandom } from "../helpers/sample-values.js";

function framed(entry: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(entry.length);
  return Buffer.concat([head, entry]);
}

it.each([
  ["none", 0, 1024],
  ["one run", 1, 1024],
  ["many runs at once", 40, 1024],
  ["many runs in several passes", 40, 3],
])("%s", async (_name, count, mostRuns) => {
  const seed = process.env["SEED"] ?? String(Date.now());
  const random = new SampleRandom(seed);
  const runs = new SortedRuns(mostRuns);
  const all: Buffer[] = [];
  for (let run = 0; run < count; run++) {
    const entries = Array.from({ length: random.int(0, 40) }, () =>
      // Now and then longer than what is read and written at once.
      Buffer.from(String(random.int(0, 999)).repeat(random.chance(0.02) ? 150_000 : random.int(0, 9))),
    ).sort(Buffer.compare);
    all.push(...entries);
    for (const entry of entries) await runs.write(framed(entry));
    runs.endRun();
  }
  let turns = 0;
  await runs.compact(() => void turns++);
  const merged: Buffer[] = [];
  for (const entry of runs.merged()) merged.push(Buffer.from(entry));
  await runs.close();
  await runs.close();
  const expected = all.sort(Buffer.compare);
  expect(merged.length, `seed ${seed}`).toBe(expected.length);
  expect(Buffer.concat(merged).equals(Buffer.concat(expected)), `seed ${seed}`).toBe(true);
});
