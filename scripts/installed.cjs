// Exits 0 when node_modules holds exactly what package-lock.json asks for. Runs under any Node, before anything is installed.
const { existsSync, readFileSync } = require("node:fs");
const { join } = require("node:path");

const root = join(__dirname, "..");
const packagesOf = (file) => JSON.parse(readFileSync(join(root, file), "utf8")).packages;

function installed() {
  if (!existsSync(join(root, "node_modules/.bin/node"))) return false;
  try {
    const wanted = packagesOf("package-lock.json");
    const present = packagesOf("node_modules/.package-lock.json");
    for (const [path, entry] of Object.entries(wanted)) {
      if (path === "") continue;
      // Optional packages for other platforms are locked, but rightly absent here.
      if (present[path] === undefined && (entry.optional || entry.devOptional)) continue;
      if (present[path]?.version !== entry.version) return false;
    }
    return true;
  } catch {
    return false;
  }
}

process.exit(installed() ? 0 : 1);
