import { pgliteStore } from "./postgres-store.js";
import { registerSinkTests } from "./sink-tests.js";
import { registerSourceTests } from "./source-tests.js";

registerSourceTests(pgliteStore);
registerSinkTests(pgliteStore);
