import { describePostgres } from "../helpers/postgres-server.js";
import { listed, registerBackendTests } from "./stores.js";

describePostgres("conformance", () => registerBackendTests(listed("postgres")));
