import { describePostgres } from "../helpers/postgres-server.js";
import { postgresCursorStore, postgresStore } from "./postgres-store.js";
import { registerSinkTests } from "./sink-tests.js";
import { registerSourceTests } from "./source-tests.js";

describePostgres("conformance", () => {
  registerSourceTests(postgresStore);
  registerSourceTests(postgresCursorStore);
  registerSinkTests(postgresStore);
});
