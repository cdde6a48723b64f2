// A dashboard's variables: what they offer, what is chosen, and how they stand in a query.
import type { VariableModel } from '@grafana/schema';
import type { Choice, Dashboard } from './picture';
import type { Prometheus } from './prometheus';

/** The value as it stands in PromQL, by the variable's name. */
export type Values = Record<string, string>;

export interface Chosen {
  values: Values;
  choices: Choice[];
}

const ALL = '$__all';
const LABEL_VALUES = /^label_values\(\s*(?:(.+?)\s*,\s*)?(\w+)\s*\)$/s;

/** Resolves them in order, since later ones use earlier ones. Times are seconds. */
export async function choose(dashboard: Dashboard, prometheus: Prometheus, from: number, to: number): Promise<Chosen> {
  const values: Values = {};
  const choices: Choice[] = [];
  for (const variable of dashboard.templating?.list ?? []) {
    const offered = variable.type === 'query' ? await offer(variable, values, prometheus, from, to) : [];
    values[variable.name] = inQuery(variable, offered);
    if (!variable.hide) {
      choices.push({ label: variable.label ?? variable.name, text: [variable.current?.text ?? ''].flat().join(' + ') });
    }
  }
  return { values, choices };
}

async function offer(
  variable: VariableModel,
  values: Values,
  prometheus: Prometheus,
  from: number,
  to: number,
): Promise<string[]> {
  const query = typeof variable.query === 'string' ? variable.query : String(variable.query?.query ?? '');
  const parts = LABEL_VALUES.exec(interpolate(query, values));
  if (!parts?.[2]) {
    throw new Error(`variable ${variable.name}: only label_values(…) is understood, not ${query}`);
  }
  return prometheus.labelValues(parts[2], parts[1], from, to);
}

function inQuery(variable: VariableModel, offered: string[]): string {
  const current = [variable.current?.value ?? ''].flat().map(String);
  if (!current.includes(ALL)) {
    return variable.multi ? anyOf(current) : (current[0] ?? '');
  }
  return variable.allValue || anyOf(offered);
}

/** One of the values, as Grafana writes it into a matcher with =~. */
function anyOf(values: string[]): string {
  const escaped = values.map((value) => value.replace(/[.*+?^${}()|[\]\\]/g, '\\\\$&'));
  return escaped.length === 1 ? (escaped[0] ?? '') : `(${escaped.join('|')})`;
}

/** Replaces $name and ${name}; what is not known stays. */
export function interpolate(text: string, values: Values): string {
  return text.replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, bare?: string, braced?: string) => values[bare ?? braced ?? ''] ?? whole);
}

/** Grafana's own variables. Seconds; `scrape` is the data source's scrape interval. */
export function clock(from: number, to: number, step: number, scrape: number): Values {
  const rate = Math.max(step + scrape, 4 * scrape);
  const range = Math.round(to - from);
  return {
    __interval: `${step}s`,
    __interval_ms: `${step * 1000}`,
    __rate_interval: `${rate}s`,
    __rate_interval_ms: `${rate * 1000}`,
    __range: `${range}s`,
    __range_s: `${range}`,
    __range_ms: `${range * 1000}`,
  };
}
