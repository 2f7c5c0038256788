/** Numbers as people read them. */

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

export function bytes(value: number): string {
  if (value < 1000) return `${value} bytes`;
  const exponent = Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${(value / 1000 ** exponent).toFixed(1)} ${["", "kB", "MB", "GB", "TB"][exponent]}`;
}

export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const [minutes, rest] = [Math.floor(seconds / 60), Math.floor(seconds % 60)];
  return minutes < 60 ? `${minutes} min ${rest} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `2026-11-28 09:02:44 UTC` */
export function time(iso: string): string {
  return iso.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC");
}
