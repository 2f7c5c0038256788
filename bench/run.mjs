// Runs the benches, each in a process of its own: node bench/run.mjs [NAME…] [--smoke]
// --smoke takes the smallest sizes, to see that every bench still runs; its figures mean nothing and are not kept.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
const options = process.argv.slice(2).filter((word) => word.startsWith("--"));
const names = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const all = readdirSync(folder)
  .filter((name) => name.endsWith(".mjs") && name !== "run.mjs")
  .map((name) => name.slice(0, -4))
  .sort();

const unknown = names.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  console.error(`no such bench: ${unknown.join(", ")}; there are: ${all.join(", ")}`);
  process.exit(2);
}

const build = spawnSync(process.execPath, [`${folder}../scripts/build.mjs`, "--if-stale"], { stdio: "inherit" });
if (build.status !== 0) process.exit(1);

const failed = [];
for (const name of names.length > 0 ? names : all) {
  console.log(`\n# ${name}`);
  const { status } = spawnSync(process.execPath, [`${folder}${name}.mjs`, ...options], { stdio: "inherit" });
  if (status !== 0) failed.push(name);
}
for (const name of failed) console.error(`failed: ${name}`);
process.exit(failed.length === 0 ? 0 : 1);
