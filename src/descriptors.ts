/** Descriptors above 2 that the parent handed over, as `3<file` of a shell does. Node has them closed when another program starts. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const CLOSE_ON_EXEC = 0o2000000;

/** Those that a new program in this process would lose; undefined where the system does not tell (only Linux does). */
export function inheritedDescriptors(): readonly number[] | undefined {
  try {
    const open = readdirSync("/proc/self/fd")
      .map(Number)
      .filter((fd) => fd > 2 && isClosedOnExec(fd))
      .map((fd) => ({ fd, target: targetOf(fd) }));
    const ends = (target: string): number => open.filter((other) => other.target === target).length;
    return open.filter(({ target }) => !isOfNode(target, ends(target))).map(({ fd }) => fd);
  } catch {
    return undefined;
  }
}

/** The descriptor that the listing itself was read through. */
const GONE = "";

/** Node's own are epoll, eventfd and io_uring (anonymous inodes), /dev/null, and pipes of which it has both ends. */
function isOfNode(target: string, ends: number): boolean {
  if (target.startsWith("pipe:")) return ends > 1;
  return target.startsWith("anon_inode:") || target === "/dev/null" || target === GONE;
}

function targetOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return GONE;
  }
}

function isClosedOnExec(fd: number): boolean {
  try {
    const info = readFileSync(`/proc/self/fdinfo/${fd}`, "latin1");
    return (Number.parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? "0", 8) & CLOSE_ON_EXEC) !== 0;
  } catch {
    return false;
  }
}
