// What a state timeline draws: stretches of one state.

/** A stretch of one state; milliseconds. */
export interface Span {
  from: number;
  to: number;
  value: number;
}

/** A value lasts until the next one, but no longer than one step and a half: after that nobody knows. */
export function spans(times: number[], values: number[], step: number, merge: boolean): Span[] {
  const found: Span[] = [];
  times.forEach((from, index) => {
    const value = values[index] ?? NaN;
    const next = times[index + 1] ?? from + step;
    const to = next - from > step * 1.5 ? from + step : next;
    const last = found.at(-1);
    if (Number.isNaN(value)) {
      return;
    }
    if (merge && last?.value === value && last.to === from) {
      last.to = to;
    } else {
      found.push({ from, to, value });
    }
  });
  return found;
}
