// Small plots: memory over time, and how many workers scale.
const WIDTH = 640;
const HEIGHT = 240;
const LEFT = 48;
const RIGHT = 12;
const TOP = 28;
const BOTTOM = 30;
const MOST_POINTS = 320;

/** `samples` of measureRss; `bound` in MB is a dashed line. */
export function rssPlot(title, samples, bound) {
  const lastSecond = Math.max(1, samples.at(-1)?.second ?? 1);
  const highest = Math.max(bound, ...samples.map(({ peak }) => peak)) * 1.1;
  const x = (second) => (LEFT + (second / lastSecond) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const y = (megabytes) => (HEIGHT - BOTTOM - (megabytes / highest) * (HEIGHT - TOP - BOTTOM)).toFixed(1);
  const thinned = thin(samples);
  const line = (field, colour) =>
    `<polyline fill="none" stroke="${colour}" stroke-width="1.5" points="${thinned.map((sample) => `${x(sample.second)},${y(sample[field])}`).join(" ")}"/>`;
  const level = (megabytes, attributes) =>
    `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(megabytes)}" y2="${y(megabytes)}" ${attributes}/><text x="${LEFT - 6}" y="${Number(y(megabytes)) + 4}" text-anchor="end">${megabytes}</text>`;
  const step = highest > 240 ? 100 : 50;
  const grid = Array.from({ length: Math.floor(highest / step) + 1 }, (_, i) => level(i * step, 'stroke="#ddd"'));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="11" fill="#444">
<title>${title}</title>
<rect width="100%" height="100%" fill="white"/>
<text x="${LEFT}" y="16" font-size="13">${title}</text>
${grid.join("\n")}
${level(bound, 'stroke="#c33" stroke-dasharray="5 4"')}
${line("peak", "#bbb")}
${line("rss", "#26c")}
<text x="${LEFT}" y="${HEIGHT - 10}">0 s</text>
<text x="${WIDTH - RIGHT}" y="${HEIGHT - 10}" text-anchor="end">${lastSecond.toFixed(0)} s</text>
<text x="${WIDTH / 2}" y="${HEIGHT - 10}" text-anchor="middle">MB: resident (blue), its peak so far (grey), bound (red)</text>
</svg>
`;
}

/** Of each stretch the sample with the most memory: a peak is never thinned away. */
function thin(samples) {
  if (samples.length <= MOST_POINTS) return samples;
  const size = Math.ceil(samples.length / MOST_POINTS);
  return Array.from({ length: Math.ceil(samples.length / size) }, (_, i) =>
    samples.slice(i * size, (i + 1) * size).reduce((most, sample) => (sample.rss > most.rss ? sample : most)),
  );
}

/** How many times as fast as one worker `figures` ({ count, seconds }) are, beside as many times as there are workers (dashed). */
export function speedPlot(title, figures) {
  const [first] = figures;
  const most = figures.at(-1).count;
  const x = (count) => (LEFT + (count / most) * (WIDTH - LEFT - RIGHT - 70)).toFixed(1);
  const y = (times) => (HEIGHT - BOTTOM - (times / (most * 1.05)) * (HEIGHT - TOP - BOTTOM)).toFixed(1);
  const points = figures.map(({ count, seconds }) => ({ count, seconds, times: first.seconds / seconds }));
  const grid = points.map(
    ({ count }) =>
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(count)}" y2="${y(count)}" stroke="#ddd"/><text x="${LEFT - 6}" y="${Number(y(count)) + 4}" text-anchor="end">${count}</text><text x="${x(count)}" y="${HEIGHT - 14}" text-anchor="middle">${count}</text>`,
  );
  const marks = points.map(
    ({ count, seconds, times }) =>
      `<circle cx="${x(count)}" cy="${y(times)}" r="3" fill="#26c"/><text x="${Number(x(count)) + 8}" y="${Number(y(times)) + 12}">${times.toFixed(2)} (${seconds.toFixed(0)} s)</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="11" fill="#444">
<title>${title}</title>
<rect width="100%" height="100%" fill="white"/>
<text x="${LEFT}" y="16" font-size="13">${title}</text>
${grid.join("\n")}
<line x1="${x(0)}" y1="${y(0)}" x2="${x(most)}" y2="${y(most)}" stroke="#bbb" stroke-dasharray="5 4"/>
<polyline fill="none" stroke="#26c" stroke-width="1.5" points="${points.map(({ count, times }) => `${x(count)},${y(times)}`).join(" ")}"/>
${marks.join("\n")}
<text x="${WIDTH / 2}" y="${HEIGHT - 2}" text-anchor="middle">workers; times as fast as one</text>
</svg>
`;
}
