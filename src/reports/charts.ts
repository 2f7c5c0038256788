/** Plots as inline SVG or bars of the page itself: no script, and they print. */
import { html, Markup } from "./markup.js";

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** The value as people read it. */
  readonly text: string;
}

/** So many bars are shown; the others are added up. */
const MOST_BARS = 16;

/** Horizontal bars, the longest of them the whole width. */
export function barChart(bars: readonly Bar[], others: (rest: readonly Bar[]) => Bar): Markup {
  const shown = bars.length > MOST_BARS ? [...bars.slice(0, MOST_BARS - 1), others(bars.slice(MOST_BARS - 1))] : bars;
  const most = Math.max(...shown.map(({ value }) => value), Number.MIN_VALUE);
  const rows = shown.map(({ label, value, text }) => {
    const share = Math.max(0.4, (value / most) * 100).toFixed(1);
    return html`<div class="bar"><span class="name">${label}</span><svg aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 100 10"><rect class="track" width="100" height="10"/><rect class="fill" width="${share}" height="10"/></svg><span class="figure">${text}</span></div>\n`;
  });
  return html`<div class="bars">${rows}</div>`;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

const WIDTH = 720;
const HEIGHT = 150;

/** A line over an axis that begins at zero. `labels`: of the top, of the left and of the right end. */
export function lineChart(points: readonly Point[], title: string, labels: readonly [string, string, string]): Markup {
  const mostX = Math.max(...points.map(({ x }) => x), Number.MIN_VALUE);
  const mostY = Math.max(...points.map(({ y }) => y), Number.MIN_VALUE);
  const placed = points.map(({ x, y }) => {
    return `${((x / mostX) * WIDTH).toFixed(1)},${(HEIGHT - (y / mostY) * (HEIGHT - 8)).toFixed(1)}`;
  });
  const line = new Markup(placed.join(" "));
  return html`<div class="line"><svg role="img" aria-label="${title}" preserveAspectRatio="none" viewBox="0 0 ${WIDTH} ${HEIGHT}"><polygon class="area" points="0,${HEIGHT} ${line} ${WIDTH},${HEIGHT}"/><polyline class="stroke" points="${line}"/></svg>
<div class="axis"><span>${labels[1]}</span><span>${labels[0]}</span><span>${labels[2]}</span></div></div>`;
}
