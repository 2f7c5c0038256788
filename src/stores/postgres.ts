/** PostgreSQL on a server; and what it shares with the embedded one (pglite.ts). */

import type { SharedSnapshot } from "../backends/postgres/reading/parts/shared-snapshot.js";
import type { PostgresConnection, PostgresConnector, PostgresTarget } from "../backends/postgres/session/connection.js";
import { parseConnectionUrl } from "../backends/postgres/session/connection-parameters.js";
import { type ErrorCode, StorageError } from "../errors.js";
import type { LoadMeasure } from "../records/loads/load-plan.js";
import { redact } from "../redaction.js";
import type { AnyLocation, Backend, DatabaseParts, SessionOptions } from "./backend.js";
import { postgresRuns } from "./postgres-runs.js";

export interface PostgresLocation {
  readonly type: "postgres";
  /** Holds the password. */
  readonly url: string;
}

function locationOf(url: string, origin: string, code: ErrorCode & ("E_USAGE" | "E_CONFIG")): PostgresLocation {
  if (parseConnectionUrl(url) !== undefined) return { type: "postgres", url };
  throw new StorageError(code, `${origin} is no PostgreSQL URL`, {
    hint: "It has the form postgresql://user@host:5432/database, with :password behind the user; percent-encode its special characters (@ is %40, / is %2F, # is %23).",
  });
}

const targetOf = ({ url }: PostgresLocation): PostgresTarget => ({ url });
const nameOf = ({ url }: PostgresLocation): string => redact(url);
const server = postgresParts(targetOf, nameOf);

export const postgres: Backend<PostgresLocation> = {
  type: "postgres",
  readsInThread: true,
  locations: {
    forms: ["a postgresql:// URL"],
    shortForms: ["postgresql:// URL"],
    parse: (text) => (/^postgres(ql)?:/i.test(text) ? locationOf(text, "the store", "E_USAGE") : undefined),
    nameOf,
    // Two URLs that spell one server differently are not recognised.
    isSame: (one, other) => one.url === other.url,
  },
  configured: {
    name: "postgresql",
    locate({ postgresql: { url, because } }) {
      if (url === undefined) {
        throw new StorageError("E_CONFIG", "no PostgreSQL connection is configured", {
          hint: "Set DATABASE_URL, or [storage.postgresql] in config.toml, or give --database postgresql://…",
        });
      }
      const location = locationOf(url, "the configured connection (DATABASE_URL)", "E_CONFIG");
      return { location, because };
    },
    source: { connectionTimeoutSeconds: (config) => config.postgresql.connectionTimeoutSeconds },
    sink: { connectionTimeoutSeconds: (config) => config.postgresql.connectionTimeoutSeconds },
  },
  ...server,
  database: {
    ...server.database,
    runs: postgresRuns(connectorOf(targetOf), nameOf),
    async pausing(location, { bound, sessions, releasesLocks, ...session }) {
      const [{ createPausingSink }, { LoadHoldReasons }] = await Promise.all([
        import("../sinks/pausing.js"),
        import("../backends/postgres/session/standbys.js"),
      ]);
      const connect = await connectorOf(targetOf)(location, session);
      return (sink) => createPausingSink(sink, new LoadHoldReasons({ connect, bound, sessions, releasesLocks }));
    },
  },
};

/** Opens sessions; `create` makes the folder of an embedded database that is not there. */
function connectorOf<Location extends AnyLocation>(targetOf: (location: Location) => PostgresTarget) {
  return async (
    location: Location,
    {
      connectionTimeoutSeconds,
      lockTimeoutSeconds,
      signal,
      onSession,
      create,
    }: SessionOptions & { readonly create?: boolean },
  ): Promise<PostgresConnector> => {
    const { connectPostgres } = await import("../backends/postgres/session/connection.js");
    return async (onWait) => {
      const connection = await connectPostgres(targetOf(location), {
        ...(connectionTimeoutSeconds === undefined ? {} : { connectionTimeoutSeconds }),
        ...(lockTimeoutSeconds === undefined ? {} : { lockTimeoutSeconds }),
        ...(onWait === undefined ? {} : { onWait }),
        ...(signal === undefined ? {} : { signal }),
        ...(create === undefined ? {} : { create }),
      });
      if (connection.pid !== undefined) onSession?.(connection.pid);
      return connection;
    };
  };
}

/** What every PostgreSQL has, wherever it runs. */
export function postgresParts<Location extends AnyLocation>(
  targetOf: (location: Location) => PostgresTarget,
  nameOf: (location: Location) => string,
): Pick<Backend<Location>, "word" | "order" | "sourceOptions" | "createSource" | "createSink" | "readFacts"> & {
  readonly database: DatabaseParts<Location>;
} {
  const connector = connectorOf(targetOf);
  const connected = async <T>(
    location: Location,
    options: SessionOptions & { readonly create?: boolean },
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
    word: "postgres",
    order: "key",
    sourceOptions: ["asOwner"],
    database: {
      title: "PostgreSQL",
      spelling: "postgresql",
      ids: "uuid",
      prunes: true,
      async migrate(location, { signal, connectionTimeoutSeconds }) {
        const { migratePostgres } = await import("../llmspell/schema/migrator.js");
        return connected(location, { signal, connectionTimeoutSeconds, create: true }, (connection) =>
          migratePostgres(connection),
        );
      },
      async planLoad(location, options) {
        const [{ planPostgresLoad }, { llmspellPostgres }, { readPostgresNotes }] = await Promise.all([
          import("../backends/postgres/planning/load-plan.js"),
          import("../llmspell/postgres/application.js"),
          import("./planning/postgres-notes.js"),
        ]);
        const connect = await connector(location, options);
        const connection = await connect();
        const measure = async (): Promise<LoadMeasure> => {
          const { measurePostgresLoad } = await import("../backends/postgres/planning/load-measure.js");
          return measurePostgresLoad(await connect(), options.catalog);
        };
        try {
          const known = await readPostgresNotes(connection);
          // An embedded database has one session.
          const given = connection.embedded ? options : { ...options, measure };
          return await planPostgresLoad(connection, { ...given, ...known, application: llmspellPostgres });
        } catch (error) {
          await connection.close();
          throw error;
        }
      },
      async inspect(location, options) {
        const [{ inspectPostgres }, runs, session, { llmspellPostgres }, { readImportRights }, { readPostgresSchema }] =
          await Promise.all([
            import("../backends/postgres/database/inspect.js"),
            import("../backends/postgres/runs/ledger/unfinished.js"),
            import("../backends/postgres/session/transaction.js"),
            import("../llmspell/postgres/application.js"),
            import("../llmspell/postgres/import-rights.js"),
            import("../llmspell/schema/migrator.js"),
          ]);
        return connected(location, options, async (connection) => {
          const state = await inspectPostgres(connection);
          const rights = state.schema ? await readImportRights(connection) : undefined;
          const unfinished = await session.inTransaction(connection, "read", () =>
            runs.findUnfinishedRun(connection, llmspellPostgres),
          );
          const json = {
            ...state,
            extensions: Object.fromEntries(state.extensions),
            import: rights,
            ...(unfinished === undefined ? {} : { unfinishedRun: unfinished }),
          };
          const { postgresFacts } = await import("./postgres-facts.js");
          const facts = postgresFacts(state, rights, options.catalog);
          if (unfinished !== undefined) facts.push(`Unfinished: ${runs.describeUnfinished(unfinished)}`);
          return { facts, json, ...(await readPostgresSchema(connection)) };
        });
      },
      async identity(location, options) {
        const { readIdentity } = await import("../backends/postgres/database/inspect.js");
        return connected(location, options, readIdentity);
      },
      async findings(location, options) {
        const { postgresFindings } = await import("./postgres-findings.js");
        return connected(location, options, (connection) => postgresFindings(connection, options.catalog));
      },
      async search(location, kind, { vectors, count, ...session }) {
        const [{ nearestByIndex }, { inTransaction }] = await Promise.all([
          import("../backends/postgres/reading/nearest-neighbours.js"),
          import("../backends/postgres/session/transaction.js"),
        ]);
        return connected(location, session, async (connection) => {
          const ids = await inTransaction(connection, "read", () => nearestByIndex(connection, kind, vectors, count));
          return ids === undefined ? undefined : { metric: "cosine", ids };
        });
      },
    },
    async createSource(location, options) {
      const { catalog, sourceMode, sourceCheck, asOwner, order, orderBy, snapshot } = options;
      const [{ createPostgresSource }, { llmspellPostgres }] = await Promise.all([
        import("../sources/postgres.js"),
        import("../llmspell/postgres/application.js"),
      ]);
      return createPostgresSource({
        connect: await connector(location, options),
        name: nameOf(location),
        application: llmspellPostgres,
        catalog,
        ...(sourceMode === undefined ? {} : { mode: sourceMode }),
        ...(sourceCheck === undefined ? {} : { check: sourceCheck }),
        ...(asOwner === undefined ? {} : { asOwner }),
        ...(order === undefined ? {} : { order }),
        ...(orderBy === undefined ? {} : { orderBy }),
        snapshot: snapshot as SharedSnapshot | undefined,
      });
    },
    async createSink(location, options) {
      const { catalog, onConflict, onOrphan, dryRun, tenant, deferIndexes, prune, requireEmpty } = options;
      const [{ createPostgresSink }, { llmspellPostgres }] = await Promise.all([
        import("../sinks/postgres.js"),
        import("../llmspell/postgres/application.js"),
      ]);
      return createPostgresSink({
        connect: await connector(location, options),
        name: nameOf(location),
        application: llmspellPostgres,
        ...(catalog === undefined ? {} : { catalog }),
        ...(onConflict === undefined ? {} : { onConflict }),
        ...(onOrphan === undefined ? {} : { onOrphan }),
        ...(dryRun === undefined ? {} : { dryRun }),
        ...(tenant === undefined ? {} : { tenant }),
        ...(prune === undefined ? {} : { prune }),
        ...(requireEmpty === undefined ? {} : { requireEmpty }),
        ...(deferIndexes === undefined ? {} : { deferIndexes }),
      });
    },
    async readFacts(location, options) {
      const { inspectPostgres } = await import("../backends/postgres/database/inspect.js");
      const { serverVersion, extensions, databaseBytes: bytes } = await connected(location, options, inspectPostgres);
      const pgvectorVersion = extensions.get("vector")?.installed;
      return { serverVersion, ...(pgvectorVersion === undefined ? {} : { pgvectorVersion }), bytes };
    },
  };
}
