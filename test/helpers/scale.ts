/** How much of a thing a test does: `npm run test:long` runs the same tests with larger numbers. */
export function scaled<Value>(ordinary: Value, long: Value): Value {
  return process.env["TEST_LONG"] === "1" ? long : ordinary;
}

/** What only `npm run test:long` does. */
export const isOrdinary = scaled(true, false);
