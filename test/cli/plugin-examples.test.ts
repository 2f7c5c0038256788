/** The plugins in examples/, in a project of their own. */
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { type Data, dataOf, document, read, source, usePluginFixture } from "./plugin-fixture.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

usePluginFixture();

describe("the example plugins", () => {
  let project: Workspace;
  beforeAll(() => {
    // What npm makes of the packed tool in a project: the package and its dependencies. The real thing is a step of .ci/run.
    project = createWorkspace();
    mkdirSync(project.path("node_modules"));
    symlinkSync(root, project.path("node_modules/llmspell-storage"), "dir");
    symlinkSync(`${root}node_modules/zod`, project.path("node_modules/zod"), "dir");
    cpSync(`${root}examples/plugins`, project.folder, { recursive: true });
    writeFileSync(
      project.path("embed.mjs"),
      `export default async (records) => records.map(({ embedding }) => Float32Array.from({ length: 384 }, (_, i) => embedding[2 * i]));`,
    );
  });
  afterAll(() => project[Symbol.dispose]());

  it("reembed.mjs moves embeddings to another dimension", async () => {
    const plugin = ["--plugin", './reembed.mjs:{"embed":"./embed.mjs"}'];
    await project.must(["storage", "export", "--database", source, "--output", "x.json", ...plugin]);
    const { "384": after, "768": gone } = dataOf(project.path("x.json"))["vector_embeddings"];
    const { "768": before } = dataOf(document)["vector_embeddings"];
    expect(gone).toBeUndefined();
    const numbers = (base64: string): Float32Array =>
      new Float32Array(new Uint8Array(Buffer.from(base64, "base64")).buffer);
    expect(numbers(after[12].embedding)).toEqual(numbers(before[0].embedding).filter((_number, at) => at % 2 === 0));
    await project.must(["storage", "migrate", "--from", source, "--to", "x.db", ...plugin]);
  });

  it("drop-old-sessions.mjs keeps the sessions that were touched since", async () => {
    const sessions = dataOf(document)["sessions"] as Data[];
    const times = sessions.map(({ last_accessed_at: time }) => time).filter((time) => typeof time === "number");
    const middle = times.sort((one, other) => one - other)[times.length >> 1] as number;
    const day = new Date(middle / 1000).toISOString().slice(0, 10);
    const plugin = ["--plugin", `./drop-old-sessions.mjs:{"before":"${day}"}`];
    const words = ["storage", "export", "--database", source, "--output", "y.json", "--include", "sessions"];
    await project.must([...words, ...plugin]);
    const isRecent = ({ last_accessed_at: time }: Data): boolean =>
      time === "infinity" || (time !== "-infinity" && time >= Date.parse(day) * 1000);
    const expected = sessions.filter(isRecent);
    expect(expected.length).toBeGreaterThan(0);
    expect(expected.length).toBeLessThan(12);
    expect(dataOf(project.path("y.json"))["sessions"]).toEqual(expected);
    const { status, stderr } = await project.run([
      ...["storage", "export", "--database", source, "--output", "z.json"],
      ...["--plugin", './drop-old-sessions.mjs:{"before":"soon"}'],
    ]);
    expect([status, stderr]).toEqual([2, expect.stringMatching(/\[E_PLUGIN_LOAD\]\nCaused by: before: /)]);
  });

  it("redact.mjs hides addresses, and only those", async () => {
    const text = read(document);
    const at = text.indexOf('"metadata":{', text.indexOf('"kv_store"')) + '"metadata":{'.length;
    writeFileSync(
      project.path("in.json"),
      `${text.slice(0, at)}"contact":["<jo.doe+x@mail.example.org>"],${text.slice(at)}`,
    );
    await project.must(["storage", "import", "--database", "r.db", "--input", "in.json", "--no-verify-manifest"]);
    await project.must(["storage", "export", "--database", "r.db", "--output", "before.json"]);
    await project.must([
      "storage",
      "export",
      "--database",
      "r.db",
      "--output",
      "after.json",
      "--plugin",
      "./redact.mjs",
    ]);
    const plain = read(project.path("before.json")).replaceAll("jo.doe+x@mail.example.org", "[redacted]");
    expect(read(project.path("after.json"))).toContain('"contact":["<[redacted]>"]');
    expect(dataOf(project.path("after.json"))).toEqual((JSON.parse(plain) as Data)["data"]);
  });
});
