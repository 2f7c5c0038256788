// Builds dist/: tsc, and the SQL files beside the code that reads them; and man/, from what was built. `--if-stale` does nothing when dist/ is up to date.
// The build happens in a folder of its own and is swapped in when complete, so that a running build never breaks a reader.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeManPages } from "./man-pages.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");
const output = join(root, `dist.${process.pid}.new`);
const previous = join(root, `dist.${process.pid}.old`);

function isStale() {
  if (!existsSync(join(dist, "cli.js")) || !existsSync(join(root, "man"))) return true;
  const built = statSync(dist).mtimeMs;
  const inputs = [
    "tsconfig.json",
    "tsconfig.build.json",
    "package-lock.json",
    "scripts/build.mjs",
    "scripts/man-pages.mjs",
    "src",
  ];
  // Folders count too: removing a file changes only its folder.
  const sources = readdirSync(join(root, "src"), { recursive: true }).map((name) => join("src", name));
  return [...inputs, ...sources].some((name) => statSync(join(root, name)).mtimeMs > built);
}

function compile() {
  const tsc = join(root, "node_modules/.bin/tsc");
  const result = spawnSync(tsc, ["-p", "tsconfig.build.json", "--outDir", output], { cwd: root, stdio: "inherit" });
  if (result.error) throw result.error;
  return result.status === 0;
}

function swapIn() {
  try {
    if (existsSync(dist)) renameSync(dist, previous);
  } catch (error) {
    // A build that runs beside this one is at the same.
    if (error.code !== "ENOENT") throw error;
  }
  try {
    renameSync(output, dist);
  } catch (error) {
    // It was first, from the same sources.
    if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
  }
  rmSync(previous, { recursive: true, force: true });
}

function build() {
  const begun = new Date();
  mkdirSync(output, { recursive: true });
  try {
    if (!compile()) return false;
    cpSync(join(root, "src/llmspell/schema"), join(output, "llmspell/schema"), {
      recursive: true,
      filter: (path) => statSync(path).isDirectory() || /\.(sql|json)$/.test(path),
    });
    chmodSync(join(output, "cli.js"), 0o755);
    // What is changed while it is built is newer.
    utimesSync(output, begun, begun);
    swapIn();
    return true;
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
}

if (!process.argv.includes("--if-stale") || isStale()) {
  if (build()) await writeManPages();
  else process.exitCode = 1;
}
