import { registerPropertyTests } from "./property-tests.js";

registerPropertyTests("first");
