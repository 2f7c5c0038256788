import { registerRoundTripTests } from "./round-trip-tests.js";
import { registerSinkTests } from "./sink-tests.js";
import { registerSourceTests } from "./source-tests.js";
import { pgliteStore, sqliteStore } from "./stores.js";

registerSourceTests(pgliteStore);
registerSinkTests(pgliteStore);
registerRoundTripTests(sqliteStore, pgliteStore);
