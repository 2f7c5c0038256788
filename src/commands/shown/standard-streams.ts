/** Which file the process's standard streams are, by whatever name they are reached. */
import { type BigIntStats, fstatSync, readFileSync, statSync } from "node:fs";
import { isatty } from "node:tty";

/** Both are one file, whatever its names. */
export function isSameFile(one: BigIntStats | undefined, other: BigIntStats | undefined): boolean {
  return one !== undefined && other !== undefined && one.ino === other.ino && one.dev === other.dev;
}

/** Undefined for a descriptor that is not open. */
export function statOfDescriptor(descriptor: number): BigIntStats | undefined {
  try {
    return fstatSync(descriptor, { bigint: true });
  } catch {
    return undefined;
  }
}

/** Undefined where there is nothing, or nothing that can be looked at. */
export function statOfPath(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}

/**
 * Whether what is written to `path` comes out of standard output: /dev/stdout, a link to it, the same pipe. Not for a regular
 * file, which is replaced, nor for a device that keeps nothing.
 */
export function isStandardOutput(path: string): boolean {
  const found = statOfPath(path);
  if (found === undefined || found.isFile()) return false;
  return isSameFile(found, statOfDescriptor(1)) && (!found.isCharacterDevice() || isatty(1));
}

/** Closed by the shell (`>&-`): Node then puts /dev/null in its place, which takes a document without a word. */
export function isStandardOutputClosed(): boolean {
  try {
    const isNull = isSameFile(statOfDescriptor(1), statOfPath("/dev/null"));
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync("/proc/self/fdinfo/1", "latin1"))?.[1] ?? "";
    // A shell opens it for writing only, Node for both.
    return isNull && (Number.parseInt(flags, 8) & 3) === 2;
  } catch {
    return false;
  }
}
