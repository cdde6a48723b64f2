// Prometheus' HTTP API, as much of it as a dashboard asks.
import type { Query, Series } from './picture';

const TIMEOUT = 30_000;

interface Found {
  metric: Record<string, string>;
  values?: Array<[number, string]>;
  value?: [number, string];
}

/** Times are seconds. Every call fails after 30 seconds, or with the words of Prometheus. */
export class Prometheus {
  constructor(private readonly url: string) {}

  async instant(expr: string, at: number): Promise<Found[]> {
    return this.vector(await this.ask<Result>('query', { query: expr, time: `${at}` }));
  }

  async range(expr: string, from: number, to: number, step: number): Promise<Found[]> {
    const result = await this.ask<Result>('query_range', { query: expr, start: `${from}`, end: `${to}`, step: `${step}` });
    return this.vector(result);
  }

  labelValues(label: string, selector: string | undefined, from: number, to: number): Promise<string[]> {
    const match: Record<string, string> = selector === undefined ? {} : { 'match[]': selector };
    return this.ask<string[]>(`label/${label}/values`, { ...match, start: `${from}`, end: `${to}` });
  }

  private vector({ resultType, result }: Result): Found[] {
    return resultType === 'scalar' ? [{ metric: {}, value: result as [number, string] }] : (result as Found[]);
  }

  private async ask<Data>(path: string, parameters: Record<string, string>): Promise<Data> {
    const address = `${this.url}/api/v1/${path}?${new URLSearchParams(parameters)}`;
    const answer = await this.fetch<Data>(address);
    if (answer.status !== 'success') {
      throw new Error(`Prometheus: ${answer.error} (${parameters.query ?? path})`);
    }
    return answer.data;
  }

  private async fetch<Data>(address: string): Promise<{ status: string; error?: string; data: Data }> {
    try {
      const response = await fetch(address, { signal: AbortSignal.timeout(TIMEOUT) });
      return (await response.json()) as { status: string; error?: string; data: Data };
    } catch (error) {
      const { message, cause } = error as Error;
      throw new Error(`${this.url} does not answer as Prometheus does: ${(cause as Error)?.message ?? message}`, { cause: error });
    }
  }
}

interface Result {
  resultType: string;
  result: unknown;
}

/** Prometheus writes infinities as +Inf and -Inf. */
const number = (text: string): number => Number(text.replace('Inf', 'Infinity'));

export function series(found: Found[], { legendFormat, expr }: Query): Series[] {
  return found.map(({ metric, values, value }) => {
    const points = values ?? (value ? [value] : []);
    return {
      name: name(metric, legendFormat, expr),
      labels: metric,
      times: points.map(([time]) => time * 1000),
      values: points.map(([, text]) => number(text)),
    };
  });
}

/** The legend's {{label}}s filled in; without a legend the series as Prometheus writes it, or else the query. */
export function name(metric: Record<string, string>, legend: string | undefined, expr: string): string {
  if (legend && legend !== '__auto') {
    return legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label: string) => metric[label] ?? '');
  }
  const { __name__: metricName = '', ...labels } = metric;
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return pairs.length > 0 ? `${metricName}{${pairs.join(', ')}}` : metricName || expr;
}
