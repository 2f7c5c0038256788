import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const cli = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
const { status } = spawnSync(process.execPath, [cli, "--version"], { stdio: "inherit" });
process.exit(status ?? 1);
