// Asks Prometheus everything that a dashboard shows at one moment.
import { charts, isRow, place, type Answer, type Dashboard, type Panel, type Picture, type Query, type Row } from './picture';
import { Prometheus, series } from './prometheus';
import { choose, clock, interpolate, type Values } from './variables';

export interface Moment {
  /** Names the picture: `full` of `ballast-etcd-space-full.png`. */
  name: string;
  /** Seconds. */
  to: number;
}

export interface View {
  /** Seconds. */
  from: number;
  to: number;
  /** The data source's scrape interval, seconds. */
  scrape: number;
  /** Pixels; Grafana asks for a point per pixel. */
  width: number;
}

/** Asks all queries of all panels; throws, naming the panel, when Prometheus refuses one or a picture would lie. */
export async function collect(dashboard: Dashboard, prometheus: Prometheus, view: View): Promise<Picture> {
  dashboard.panels.forEach(refuse);
  const { values, choices } = await choose(dashboard, prometheus, view.from, view.to);
  const answers: Record<number, Answer[]> = {};
  for (const panel of charts(dashboard)) {
    const queries = (panel.targets ?? []).filter((query) => !query.hide);
    try {
      answers[panel.id] = await Promise.all(queries.map((query) => answer(panel, query, values, prometheus, view)));
    } catch (error) {
      throw new Error(`panel "${panel.title}": ${(error as Error).message}`, { cause: error });
    }
  }
  return { dashboard, from: view.from * 1000, to: view.to * 1000, choices, answers };
}

/** What Grafana does and this does not. */
function refuse(panel: Panel | Row): void {
  if (isRow(panel) && panel.panels.length > 0) {
    throw new Error(`row "${panel.title}" is collapsed, and its panels would not be looked at`);
  }
  if ('repeat' in panel || ('transformations' in panel && panel.transformations?.length)) {
    throw new Error(`panel "${panel.title}" is repeated or transforms its data, which is not drawn yet`);
  }
}

async function answer(panel: Panel, query: Query, values: Values, prometheus: Prometheus, view: View): Promise<Answer> {
  const step = stepOf(panel, view);
  const expr = interpolate(query.expr, { ...values, ...clock(view.from, view.to, step, view.scrape) });
  const found = query.instant
    ? await prometheus.instant(expr, view.to)
    : await prometheus.range(expr, ...aligned(view, step), step);
  return { refId: query.refId, step: step * 1000, series: series(found, query) };
}

/** A point per pixel, but none between two scrapes. */
function stepOf(panel: Panel, { from, to, scrape, width }: View): number {
  return Math.max(scrape, Math.ceil((to - from) / place(panel.gridPos, width).width));
}

/** On multiples of the step, as Grafana asks, so that a picture does not change with its first second. */
function aligned({ from, to }: View, step: number): [number, number] {
  return [Math.floor(from / step) * step, Math.floor(to / step) * step];
}
