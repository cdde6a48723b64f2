// What both sides share: the command collects a Picture, the page draws it.
import type { Dashboard as SchemaDashboard, Panel as SchemaPanel } from '@grafana/schema';

export interface Query {
  refId: string;
  expr: string;
  legendFormat?: string;
  instant?: boolean;
  range?: boolean;
  hide?: boolean;
}

export type Panel = Omit<SchemaPanel, 'targets' | 'gridPos'> & {
  id: number;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: Query[];
};

/** A row's header: it has a title and a place, and, when collapsed, the panels below it. */
export interface Row {
  type: 'row';
  id: number;
  title?: string;
  collapsed: boolean;
  gridPos: Panel['gridPos'];
  panels: Panel[];
}

export type Dashboard = Omit<SchemaDashboard, 'panels'> & { title: string; uid: string; panels: Array<Panel | Row> };

/** One series as Prometheus gives it: times in milliseconds; NaN and infinities as they are. */
export interface Series {
  name: string;
  labels: Record<string, string>;
  times: number[];
  values: number[];
}

export interface Answer {
  refId: string;
  /** Milliseconds between two points; where more is missing, the line is broken. */
  step: number;
  series: Series[];
}

export interface Choice {
  label: string;
  text: string;
}

export interface Picture {
  dashboard: Dashboard;
  /** Milliseconds. */
  from: number;
  to: number;
  choices: Choice[];
  /** By the panel's id. */
  answers: Record<number, Answer[]>;
}

declare global {
  interface Window {
    /** Draws what `encode` gave; gives the height in pixels. */
    draw: (encoded: string) => Promise<number>;
  }
}

/** JSON knows no NaN and no infinity: they travel as {number: "Infinity"}. */
export const encode = (picture: Picture): string =>
  JSON.stringify(picture, (_, value: unknown) =>
    typeof value === 'number' && !Number.isFinite(value) ? { number: `${value}` } : value,
  );

export const decode = (text: string): Picture =>
  JSON.parse(text, (_, value) => (typeof value?.number === 'string' ? Number(value.number) : value)) as Picture;

export const isRow = (panel: Panel | Row): panel is Row => panel.type === 'row';

export const charts = (dashboard: Dashboard): Panel[] => dashboard.panels.filter((panel) => !isRow(panel));

/** Grafana's grid: 24 columns, rows of 30 pixels, gaps of 8. */
const COLUMNS = 24;
const CELL = 30;
const GAP = 8;

export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

export function place({ x, y, w, h }: Panel['gridPos'], width: number): Box {
  const column = (width + GAP) / COLUMNS;
  return {
    left: Math.round(x * column),
    top: y * (CELL + GAP),
    width: Math.round(w * column - GAP),
    height: h * (CELL + GAP) - GAP,
  };
}

export const canvasHeight = (dashboard: Dashboard): number =>
  Math.max(...dashboard.panels.map(({ gridPos }) => (gridPos.y + gridPos.h) * (CELL + GAP)));
