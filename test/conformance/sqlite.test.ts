import { registerSinkTests } from "./sink-tests.js";
import { registerSourceTests } from "./source-tests.js";
import { sqliteStore } from "./sqlite-store.js";

registerSourceTests(sqliteStore);
registerSinkTests(sqliteStore);
