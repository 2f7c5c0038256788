/** Takes what a generator gives before it is asked for. */

/** The items, of which so many at most wait. The generator has ended when this one has. */
export async function* readAhead<Item>(items: AsyncIterable<Item>, most: number): AsyncGenerator<Item> {
  const waiting: Item[] = [];
  let state: { readonly error?: unknown } | undefined;
  let isClosed = false;
  let wake: () => void = () => {};
  const change = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
    });
  const taking = (async () => {
    try {
      for await (const item of items) {
        waiting.push(item);
        wake();
        while (waiting.length >= most && !isClosed) await change();
        if (isClosed) break;
      }
      state = {};
    } catch (error) {
      state = { error };
    }
    wake();
  })();
  try {
    for (;;) {
      const item = waiting.shift();
      if (item !== undefined) {
        wake();
        yield item;
      } else if (state === undefined) await change();
      else if ("error" in state) throw state.error;
      else return;
    }
  } finally {
    isClosed = true;
    wake();
    await taking;
  }
}
