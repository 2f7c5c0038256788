/** The process that exports damaged files: reads a path, answers what came of it (sqlite-files.ts). Uses the built library. */
import { Writable } from "node:stream";
import { exportStore, StorageError } from "../../dist/index.js";

process.on("message", async (path) => {
  const counts = new Map();
  const warnings = [];
  const count = (kind, records) => counts.set(kind, (counts.get(kind) ?? 0) + records);
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  let unexpected;
  const look = (error) => {
    if (!(error instanceof StorageError)) unexpected = `no StorageError: ${error?.stack}`;
    else if (error.code === "E_UNEXPECTED")
      unexpected = `E_UNEXPECTED: ${error.message}\n${error.cause?.stack ?? error.stack}`;
  };
  try {
    const { kinds } = await exportStore({
      from: path,
      to: nowhere,
      onWarning: (warning) => void warnings.push(warning),
      onReject({ kind, error }) {
        look(error);
        count(kind.path, 1);
      },
    });
    for (const { path: kind, read } of kinds) count(kind, read);
    process.send({ read: [...counts], warnings, unexpected });
  } catch (error) {
    look(error);
    process.send({ code: error.code ?? "none", read: [], warnings, unexpected });
  }
});
