// Migrates the SQLite file of the first argument. The second, where given, is the look at the signal (counted from 1) at
// which the process kills itself: a moment between two pieces of a rebuild.
import { migrateSqlite } from "../../src/llmspell/schema/sqlite/migrator.js";

const [, , path, fatalLook] = process.argv;
let looks = 0;
const signal = Object.assign(new AbortController().signal, {
  throwIfAborted(): void {
    looks += 1;
    if (looks === Number(fatalLook)) process.kill(process.pid, "SIGKILL");
  },
});
const { applied } = await migrateSqlite(path as string, { signal });
process.stdout.write(`${JSON.stringify(applied.map(({ id }) => id))}\n`);
