import { registerSinkTests } from "./sink-tests.js";
import { registerSourceTests } from "./source-tests.js";
import { documentStore } from "./stores.js";

registerSourceTests(documentStore);
registerSinkTests(documentStore);
