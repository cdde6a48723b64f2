// The schema refuses what Grafana would pass over in silence: a mistake that is none any more fails tsc here.
import type { DashboardJson } from '../src/schema';

type Panel = DashboardJson['panels'][number];

const targets = [{ refId: 'A', expr: 'up', datasource: { type: 'prometheus' as const, uid: '${datasource}' } }];
const fieldConfig = { defaults: { unit: 'bytes' }, overrides: [] };

export const good: Panel[] = [
  { type: 'stat', targets, fieldConfig, options: { colorMode: 'background', reduceOptions: { calcs: ['lastNotNull'] } } },
  { type: 'timeseries', targets, fieldConfig: { defaults: { custom: { drawStyle: 'line', lineStyle: { dash: [10, 8], fill: 'dash' } } } } },
  { type: 'state-timeline', targets, fieldConfig, options: { showValue: 'auto', rowHeight: 0.8 } },
  { type: 'bargauge', targets, fieldConfig, options: { displayMode: 'gradient', valueMode: 'color' } },
  { type: 'row', title: 'Now', collapsed: false, panels: [] },
];

export const bad: Panel[] = [
  // @ts-expect-error a word that is none of the enumeration's
  { type: 'stat', targets, fieldConfig, options: { colorMode: 'backgroud' } },
  // @ts-expect-error an option of another panel
  { type: 'stat', targets, fieldConfig, options: { showValue: 'auto' } },
  // @ts-expect-error a misspelt field option
  { type: 'timeseries', targets, fieldConfig: { defaults: { custom: { drawstyle: 'line' } } } },
  // @ts-expect-error a misspelt default
  { type: 'timeseries', targets, fieldConfig: { defaults: { units: 'bytes' } } },
  // @ts-expect-error a place without a width's number
  { type: 'timeseries', targets, fieldConfig, gridPos: { x: 0, y: 0, w: '8', h: 8 } },
  // @ts-expect-error a panel that nobody knows
  { type: 'graph', targets, fieldConfig },
];
