import { registerRoundTripTests } from "./round-trip-tests.js";
import { registerSinkTests } from "./sink-tests.js";
import { registerSourceTests } from "./source-tests.js";
import { documentStore, sqliteStore } from "./stores.js";

registerSourceTests(sqliteStore);
registerSinkTests(sqliteStore);
registerRoundTripTests(sqliteStore, documentStore);
