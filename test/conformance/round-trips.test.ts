import { describePostgres } from "../helpers/postgres-server.js";
import { directoryStore } from "./directory-store.js";
import { documentStore } from "./document-store.js";
import { pgliteStore, postgresCursorStore, postgresStore } from "./postgres-store.js";
import { registerRoundTripTests } from "./round-trip-tests.js";
import { sqliteStore } from "./sqlite-store.js";

registerRoundTripTests(sqliteStore, documentStore);
registerRoundTripTests(sqliteStore, directoryStore);
registerRoundTripTests(sqliteStore, pgliteStore);
registerRoundTripTests(pgliteStore, sqliteStore);

describePostgres("with a server", () => {
  registerRoundTripTests(postgresStore, documentStore);
  registerRoundTripTests(postgresStore, directoryStore);
  registerRoundTripTests(postgresStore, sqliteStore);
  registerRoundTripTests(sqliteStore, postgresCursorStore);
  registerRoundTripTests(postgresStore, pgliteStore);
});
