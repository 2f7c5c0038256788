import { documentStore } from "./document-store.js";
import { registerSinkTests } from "./sink-tests.js";
import { registerSourceTests } from "./source-tests.js";

registerSourceTests(documentStore);
registerSinkTests(documentStore);
