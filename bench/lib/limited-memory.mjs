// Processes whose memory, the pages of files that they read included, is limited by a control group of their own.
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must } from "./measure.mjs";

/** Where groups are made, and what limits their memory, of either version of control groups. */
const HIERARCHIES = [
  { folder: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes" },
  { folder: "/sys/fs/cgroup", limit: "memory.max" },
];

export class LimitedMemory {
  /** Undefined where this machine does not permit it. */
  static create(bytes) {
    for (const { folder, limit } of HIERARCHIES) {
      const group = join(folder, `llmspell-bench-${process.pid}`);
      try {
        if (!existsSync(join(folder, "cgroup.procs"))) continue;
        mkdirSync(group);
        writeFileSync(join(group, limit), String(Math.round(bytes)));
        return new LimitedMemory(group);
      } catch {
        // Not the right, not this version, or no controller of memory in this group.
        if (existsSync(group)) rmdirSync(group);
      }
    }
    return undefined;
  }

  constructor(group) {
    this.group = group;
  }

  /** The command with its processes in the group. */
  command(words) {
    return ["sh", "-c", `echo $$ > ${this.group}/cgroup.procs && exec "$@"`, "sh", ...words];
  }

  /** The process, and those that it will start. */
  take(pid) {
    writeFileSync(join(this.group, "cgroup.procs"), String(pid));
  }

  /** When its processes have ended. */
  remove() {
    rmdirSync(this.group);
  }
}

/** Has the system forget the pages of a file, or of all files of a folder. */
export function forget(path) {
  if (statSync(path).isDirectory()) for (const name of readdirSync(path)) forget(join(path, name));
  else must(["dd", `if=${path}`, "iflag=nocache", "count=0", "status=none"]);
}
