// One file per type of panel; what is not here is refused by name.
import type { DataFrame, GrafanaTheme2, TimeRange } from '@grafana/data';
import type { ReactNode } from 'react';
import type { Defaults } from '../frames';
import type { Panel } from '../picture';
import { bargauge } from './bargauge';
import { stat } from './stat';
import { stateTimeline } from './state-timeline';
import { timeseries } from './timeseries';

export interface PanelProps {
  panel: Panel;
  data: DataFrame[];
  timeRange: TimeRange;
  theme: GrafanaTheme2;
  width: number;
  height: number;
}

export interface PanelType {
  /** What Grafana's panel sets where the dashboard says nothing. */
  defaults?: Defaults;
  /** Has words of its own for no data. */
  drawsEmpty?: boolean;
  draw: (props: PanelProps) => ReactNode;
}

export const TYPES: Record<string, PanelType> = { bargauge, stat, timeseries, 'state-timeline': stateTimeline };
