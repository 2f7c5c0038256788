/** Which imports the lint rule of biome.json refuses. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

export interface Import {
  /** From the project's root, e.g. `src/sinks/a.ts`; it need not be there. */
  readonly file: string;
  /** As it would stand in the file. */
  readonly imports: string;
}

/** Those that are refused, each as `file -> import`. */
export function refusedImports(all: readonly Import[]): Set<string> {
  const folder = mkdtempSync(join(tmpdir(), "llmspell-layers-"));
  try {
    cpSync(join(root, "biome.json"), join(folder, "biome.json"));
    const lines = new Map<string, string[]>();
    for (const { file, imports } of all) lines.set(file, [...(lines.get(file) ?? []), imports]);
    for (const [file, imports] of lines) {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), imports.map((specifier) => `export type * from "${specifier}";\n`).join(""));
    }
    const biome = join(root, "node_modules/.bin/biome");
    // The folder is no git repository, so there is no ignore file to look for.
    const only = [
      "--vcs-enabled=false",
      "--only=style/noRestrictedImports",
      "--reporter=json",
      "--max-diagnostics=none",
    ];
    const lint = spawnSync(biome, ["lint", ...only, "."], { cwd: folder, encoding: "utf8", maxBuffer: 2 ** 28 });
    if (!lint.stdout.includes("diagnostics")) throw new Error(`biome gave no report: ${lint.stderr}`);
    const report = JSON.parse(lint.stdout) as {
      diagnostics: { location: { path: string; start: { line: number } } }[];
    };
    return new Set(
      report.diagnostics.map(
        ({ location }) => `${location.path} -> ${lines.get(location.path)?.[location.start.line - 1]}`,
      ),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
