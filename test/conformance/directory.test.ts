import { listed, registerBackendTests } from "./stores.js";

registerBackendTests(listed("directory"));
