/** Waits for what a plugin promised: until it comes, the time is up, or the run is interrupted. */
export async function withDeadline<Value>(
  promise: PromiseLike<Value>,
  seconds: number,
  signal: AbortSignal,
  timeoutError: () => Error,
): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  let onAbort = (): void => {};
  const ended = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(timeoutError()), seconds * 1000);
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, ended]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
