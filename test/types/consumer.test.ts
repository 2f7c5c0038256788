/** The package's declarations in a project that has its dependencies, and of types only Node's own. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
let project: string;

beforeAll(() => {
  execFileSync(process.execPath, [join(root, "scripts/build.mjs"), "--if-stale"]);
  project = mkdtempSync(join(tmpdir(), "llmspell-consumer-"));
  const own = join(project, "node_modules/llmspell-storage");
  mkdirSync(own, { recursive: true });
  cpSync(join(root, "dist"), join(own, "dist"), { recursive: true });
  cpSync(join(root, "package.json"), join(own, "package.json"));
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { dependencies: object };
  for (const name of [...Object.keys(dependencies), "@types/node"]) {
    mkdirSync(dirname(join(project, "node_modules", name)), { recursive: true });
    symlinkSync(join(root, "node_modules", name), join(project, "node_modules", name));
  }
  writeFileSync(join(project, "package.json"), '{ "type": "module" }');
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

function errorsOf(text: string): string {
  writeFileSync(join(project, "consumer.ts"), text);
  const flags = "--noEmit --strict --skipLibCheck false --module nodenext --target es2024 --types node".split(" ");
  try {
    return execFileSync(join(root, "node_modules/.bin/tsc"), [...flags, "consumer.ts"], {
      cwd: project,
      encoding: "utf8",
    });
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

it("are whole: strict, skipLibCheck false", () => {
  const text = `
    import { connectPostgres, createSqliteSource, defineTransform, exportStore } from "llmspell-storage";
    await exportStore({ from: "a.db", to: "b.json", include: ["sessions"] });
    const connection = await connectPostgres({ url: "postgresql://localhost/db" });
    const { rows } = await connection.query<{ n: number }>("SELECT 1 AS n");
    const n: number | undefined = rows[0]?.n;
    createSqliteSource({ path: "a.db" });
    export default defineTransform({ name: \`x\${n}\`, transform: (record) => ({ ...record, status: "archived" }) });
  `;
  expect(errorsOf(text)).toBe("");
});

it("refuse what is wrong", () => {
  expect(
    errorsOf('import { exportStore } from "llmspell-storage"; await exportStore({ from: 7, to: "b.json" });'),
  ).toContain("consumer.ts(1,");
});
