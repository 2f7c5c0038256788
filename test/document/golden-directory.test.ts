/** The golden export directory: some sections of the golden document, cut, printed by a program of another language. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createDirectorySink, createDirectorySource, createDocumentSource, runPipeline } from "../../src/index.js";
import { expectSameRecords } from "../conformance/expectations.js";
import { createMemorySink } from "../conformance/memory-store.js";

const golden = (name: string): string => new URL(`../golden/${name}`, import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "llmspell-golden-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const RUN = "00000000000000aa";
const paths = new Set(["knowledge_graph.entities", "kv_store", "hook_history"]);
const document = () => createDocumentSource({ input: { path: golden("document-1.0.json") } });

/** Names and texts of a directory's files, as if the golden run had written them. */
function filesIn(path: string): [name: string, text: string][] {
  const { run } = JSON.parse(readFileSync(join(path, "manifest.json"), "utf8"));
  return readdirSync(path).map((name) => [
    name.replace(run, RUN),
    readFileSync(join(path, name), "utf8").replaceAll(run, RUN),
  ]);
}

describe("the golden directory of version 1.0", () => {
  it("is read as the document's records", async () => {
    const [found, wanted] = [createMemorySink(), createMemorySink()];
    const source = createDirectorySource({ path: golden("directory-1.0") });
    const warnings: string[] = [];
    await runPipeline({ source, sink: found, selection: { paths }, onWarning: (line) => void warnings.push(line) });
    await runPipeline({ source: document(), sink: wanted, selection: { paths } });
    expect(warnings).toEqual([]);
    expect(found.records.length).toBe(6);
    expectSameRecords(found.records, wanted.records);
  });

  it("is written byte for byte, but for the run's id", async () => {
    const path = join(folder, "written");
    const sink = createDirectorySink({
      path,
      partBytes: 300,
      producer: "test/1",
      exportedAt: new Date("2026-11-22T10:30:00.123Z"),
    });
    // The golden document's producer does not say whether it is whole, which counts as a part: not so here.
    const source = { ...document(), partial: () => undefined };
    await runPipeline({ source, sink, selection: { paths } });
    expect(filesIn(path)).toEqual(filesIn(golden("directory-1.0")));
  });
});
