/** How a plugin's module finds the package, beside a tool that is installed elsewhere. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
  createLlmspellSqlite(workspace.path("source.db"));
  fillSqlite(workspace.path("source.db"), { records: 3 });
});
afterAll(() => workspace[Symbol.dispose]());

const EXPORT = ["storage", "export", "--database", "source.db", "--include", "sessions", "--force"];

async function statuses(plugin: string): Promise<unknown[]> {
  const { stderr } = await workspace.must([...EXPORT, "--output", "out.json", "--plugin", plugin, "--quiet"]);
  expect(stderr).toBe("");
  const { data } = JSON.parse(readFileSync(workspace.path("out.json"), "utf8")) as { data: { sessions: Session[] } };
  return data.sessions.map(({ status }) => status);
}

interface Session {
  readonly status: string;
}

const BODY = '({ name: "mark", sections: ["sessions"], transform: (session) => ({ ...session, status: "archived" }) })';

describe("a plugin in a folder without node_modules", () => {
  it.each([
    [
      "a module",
      "a.mjs",
      `import { defineTransform } from "llmspell-storage";\nexport default defineTransform${BODY};`,
    ],
    [
      "a CommonJS module",
      "b.cjs",
      `const { defineTransform } = require("llmspell-storage");\nmodule.exports = defineTransform${BODY};`,
    ],
    ["by way of another module", "c.mjs", 'import "./a.mjs";\nexport { default } from "./a.mjs";'],
  ])("imports the package that runs it: %s", async (_what, name, text) => {
    writeFileSync(workspace.path(name), text);
    expect(await statuses(`./${name}`)).toEqual(["archived", "archived", "archived"]);
  });

  it("may be TypeScript", async () => {
    writeFileSync(
      workspace.path("d.ts"),
      `import { defineTransform, type PluginRecord } from "llmspell-storage";
       const mark = (session: PluginRecord): PluginRecord => ({ ...session, status: "archived" });
       export default defineTransform({ name: "mark", sections: ["sessions"], transform: mark });`,
    );
    expect(await statuses("./d.ts")).toEqual(["archived", "archived", "archived"]);
  });

  it.each(["g.js", "h.ts"])("may be %s, without a word of how Node takes it", async (name) => {
    const text = `import { defineTransform } from "llmspell-storage";\nexport default defineTransform${BODY};`;
    writeFileSync(workspace.path(name), text);
    for (const quiet of [["--no-progress"], ["--quiet"]]) {
      const words = [...EXPORT, "--output", "quiet.json", "--plugin", `./${name}`, ...quiet];
      const { stderr } = await workspace.must(words);
      expect(stderr).toBe("");
    }
  });

  it("refuses options by a schema, in words", async () => {
    const zod = pathToFileURL(createRequire(import.meta.url).resolve("zod"));
    const schema = "z.object({ before: z.string(), most: z.number().max(3) })";
    const text = `import zod from ${JSON.stringify(zod)};\nconst { z } = zod;\nexport default { name: "cut", options: ${schema}, transform: (one) => one };`;
    writeFileSync(workspace.path("schema.mjs"), text);
    const words = [...EXPORT, "--output", "g.json", "--plugin", './schema.mjs:{"most":9}'];
    const { status, stderr } = await workspace.run(words);
    expect(status).toBe(2);
    expect(stderr).toMatch(
      /^Error: the plugin cut refuses its options \[E_PLUGIN_LOAD\]\nCaused by: before: [^\n]+; most: [^\n]+\n$/,
    );
  });

  it("is told of other packages that are not there", async () => {
    writeFileSync(workspace.path("e.mjs"), 'import "llmspell-storage-missing";\nexport default {};');
    const { status, stderr } = await workspace.run([...EXPORT, "--output", "e.json", "--plugin", "./e.mjs"]);
    expect([status, stderr]).toEqual([2, expect.stringContaining("Cannot find package 'llmspell-storage-missing'")]);
  });
});

it("a project's own copy comes first, and its errors are not hidden", async () => {
  const own = workspace.path("project/node_modules/llmspell-storage");
  mkdirSync(own, { recursive: true });
  writeFileSync(`${own}/package.json`, '{ "name": "llmspell-storage", "type": "module", "exports": "./index.js" }');
  writeFileSync(
    `${own}/index.js`,
    'export const defineTransform = (one) => ({ ...one, name: "own", transform: (s) => ({ ...s, status: "own" }) });',
  );
  writeFileSync(workspace.path("project/a.mjs"), readFileSync(workspace.path("a.mjs")));
  expect(await statuses("./project/a.mjs")).toEqual(["own", "own", "own"]);
  writeFileSync(`${own}/index.js`, 'import "./missing.js";');
  const { status, stderr } = await workspace.run([...EXPORT, "--output", "f.json", "--plugin", "./project/a.mjs"]);
  expect([status, stderr]).toEqual([2, expect.stringContaining("missing.js")]);
});
