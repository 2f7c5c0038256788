// The memory of a process over its life, sampled from /proc while it runs.
import { readFileSync } from "node:fs";
import { measure } from "./measure.mjs";

/**
 * measure(), and `samples`: `{ second, rss, peak }` (VmRSS and VmHWM in 10^6 bytes) every `interval` milliseconds.
 * GNU time takes the peak at the very end besides.
 */
export async function measureRss(command, { interval = 1000, ...options }) {
  const samples = [];
  let timer;
  const onStart = (pid) => {
    const started = performance.now();
    const take = () => {
      const sample = memoryOf(pid);
      if (sample !== undefined) samples.push({ second: (performance.now() - started) / 1000, ...sample });
    };
    timer = setInterval(take, interval);
    take();
  };
  try {
    return { ...(await measure(command, { ...options, onStart })), samples };
  } finally {
    clearInterval(timer);
  }
}

function memoryOf(pid) {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    const megabytes = (name) => (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024) / 1e6;
    const sample = { rss: megabytes("VmRSS"), peak: megabytes("VmHWM") };
    // An ending process has no memory any more.
    return Number.isNaN(sample.rss) ? undefined : sample;
  } catch {
    return undefined;
  }
}
