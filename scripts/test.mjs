/**
 * `npm test`: vitest with the arguments given. `-t NAME` alone would load every test file to learn its tests' names, so only
 * those files are given to vitest whose text, or that of what they import, has the name; `-t NAME test` looks into all of them.
 */
import { spawn } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const given = process.argv.slice(2);

/** The name that is asked for, where nothing but it (and options that need no value of their own) is given. */
function askedName(given) {
  const at = given.findIndex((argument) => argument === "-t" || argument === "--testNamePattern");
  const name = at < 0 ? undefined : given[at + 1];
  const others = given.filter((_, index) => index !== at && index !== at + 1);
  return name !== undefined && others.every((argument) => argument.startsWith("--")) ? name : undefined;
}

/** The files of test/ that a file imports, itself included. */
function withImports(file, seen = new Set()) {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const [, path] of readFileSync(file, "utf8").matchAll(/from "(\.[^"]*)\.js"/g)) {
    const imported = resolve(dirname(file), `${path}.ts`);
    if (imported.startsWith(`${root}test/`)) withImports(imported, seen);
  }
  return seen;
}

function mentions(text, name) {
  if (text.includes(name)) return true;
  try {
    return new RegExp(name).test(text);
  } catch {
    return false;
  }
}

/** A test's full name is `describe test`, which stands nowhere in one piece: the first words are taken away until some file has the rest. */
function filesWith(name) {
  const texts = globSync("test/**/*.test.ts", { cwd: root }).map((file) => ({
    file,
    texts: [...withImports(resolve(root, file))].map((part) => readFileSync(part, "utf8")),
  }));
  const words = name.split(" ");
  for (let from = 0; from < words.length; from++) {
    const rest = words.slice(from).join(" ");
    const found = texts.filter(({ texts }) => texts.some((text) => mentions(text, rest)));
    if (found.length > 0) return found.map(({ file }) => file);
  }
  return [];
}

const name = askedName(given);
const files = name === undefined ? [] : filesWith(name);
if (name !== undefined)
  console.error(`-t: ${files.length || "all"} test files are looked into; add "test" for all of them`);
const child = spawn("vitest", ["run", ...given, ...files], { cwd: root, stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  process.exitCode = code ?? (signal === "SIGINT" ? 130 : 1);
});
