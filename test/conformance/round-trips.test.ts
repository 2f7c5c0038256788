import { describePostgres } from "../helpers/postgres-server.js";
import { documentStore } from "./document-store.js";
import { pgliteStore, postgresCursorStore, postgresStore } from "./postgres-store.js";
import { registerRoundTripTests } from "./round-trip-tests.js";
import { sqliteStore } from "./sqlite-store.js";

registerRoundTripTests(sqliteStore, documentStore);
registerRoundTripTests(sqliteStore, pgliteStore);
registerRoundTripTests(pgliteStore, sqliteStore);

describePostgres("with a server", () => {
  registerRoundTripTests(postgresStore, documentStore);
  registerRoundTripTests(postgresStore, sqliteStore);
  registerRoundTripTests(sqliteStore, postgresCursorStore);
  registerRoundTripTests(postgresStore, pgliteStore);
});
