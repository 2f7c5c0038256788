/** The steps of test/verify/values.test.ts, with a thread per store. */
import { vi } from "vitest";

vi.stubEnv("VERIFY_JOBS", "2");
await import("../verify/values.test.js");
