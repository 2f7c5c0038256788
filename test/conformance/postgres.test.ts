import { describePostgres } from "../helpers/postgres-server.js";
import { registerRoundTripTests } from "./round-trip-tests.js";
import { registerSinkTests } from "./sink-tests.js";
import { registerSourceTests } from "./source-tests.js";
import { documentStore, postgresCursorStore, postgresStore, sqliteStore } from "./stores.js";

describePostgres("conformance", () => {
  registerSourceTests(postgresStore);
  registerSourceTests(postgresCursorStore);
  registerSinkTests(postgresStore);
  registerRoundTripTests(postgresStore, documentStore);
  registerRoundTripTests(postgresStore, sqliteStore);
  registerRoundTripTests(sqliteStore, postgresCursorStore);
});
