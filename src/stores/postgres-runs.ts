/** Runs of a PostgreSQL server: what loads, lists and undoes them. */
import type { PostgresConnection, PostgresConnector } from "../backends/postgres/session/connection.js";
import { StorageError } from "../errors.js";
import type { KnownRun, RunParts, RunPlan, SessionOptions } from "./backend.js";
import type { PostgresLocation } from "./postgres.js";

/** Bytes of a part that is not its section's last: parts have one to four times as many. */
const PART_BYTES = 4194304;

/** For trials with little data. */
function partBytes(): number {
  const text = process.env["LLMSPELL_STORAGE_PART_BYTES"];
  if (text === undefined || text === "") return PART_BYTES;
  const bytes = /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
  if (bytes > 0 && bytes <= 67108864) return bytes;
  throw new StorageError("E_CONFIG", "LLMSPELL_STORAGE_PART_BYTES is a number of bytes up to 67108864");
}

/** Opens sessions with the server of a location. */
export type Connectors = (location: PostgresLocation, options: SessionOptions) => Promise<PostgresConnector>;

export function postgresRuns(
  connector: Connectors,
  nameOf: (location: PostgresLocation) => string,
): RunParts<PostgresLocation> {
  const connected = async <T>(
    location: PostgresLocation,
    options: SessionOptions,
    work: (connection: PostgresConnection) => Promise<T>,
  ): Promise<T> => {
    const connection = await (await connector(location, options))();
    try {
      return await work(connection);
    } finally {
      await connection.close();
    }
  };
  return {
    async load(location, options) {
      const [{ PostgresRun }, { llmspellPostgres }] = await Promise.all([
        import("../sinks/postgres-run.js"),
        import("../llmspell/postgres/application.js"),
      ]);
      return new PostgresRun({
        ...options,
        connect: await connector(location, options),
        name: nameOf(location),
        application: llmspellPostgres,
        partBytes: partBytes(),
      });
    },
    async list(location, options) {
      const [{ listRuns }, { listPlan }, { llmspellPostgres }] = await Promise.all([
        import("../backends/postgres/runs/ledger/list.js"),
        import("../backends/postgres/runs/plan/list-plan.js"),
        import("../llmspell/postgres/application.js"),
      ]);
      return connected(location, options, async (connection): Promise<readonly KnownRun[]> => {
        const runs = await listRuns(connection, options.catalog, llmspellPostgres);
        const { run: planned, ...plan } = (await listPlan(connection, llmspellPostgres)) ?? { run: undefined };
        return runs.map((run) => (run.run === planned ? { ...run, plan: plan as RunPlan } : run));
      });
    },
    async coordinate(location, options) {
      const [{ QueueRun }, { llmspellPostgres }] = await Promise.all([
        import("../sinks/postgres-queue-run.js"),
        import("../llmspell/postgres/application.js"),
      ]);
      return new QueueRun({
        ...options,
        connect: await connector(location, options),
        name: nameOf(location),
        application: llmspellPostgres,
        partBytes: partBytes(),
      });
    },
    async work(location, { catalog, worker, ...options }) {
      const [{ PartTarget }, { llmspellPostgres }] = await Promise.all([
        import("../sinks/postgres-part-target.js"),
        import("../llmspell/postgres/application.js"),
      ]);
      // What is under way is rolled back before the session ends: the part is given back over it.
      const { signal: _signal, ...session } = options;
      return PartTarget.open({
        connect: await connector(location, session),
        name: nameOf(location),
        application: llmspellPostgres,
        catalog,
        worker,
      });
    },
    async undo(location, options) {
      const [{ undoRun }, { llmspellPostgres }] = await Promise.all([
        import("../backends/postgres/runs/undo.js"),
        import("../llmspell/postgres/application.js"),
      ]);
      return connected(location, options, (connection) =>
        undoRun({ connection, catalog: options.catalog, application: llmspellPostgres, onStep: options.onStep }),
      );
    },
  };
}
