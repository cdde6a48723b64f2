// Lines over time, by Grafana's TimeSeries.
import { LegendDisplayMode } from '@grafana/schema';
import { TimeSeries } from '@grafana/ui';
import type { VizLegendOptions } from '@grafana/schema';
import { TIME_ZONE } from '../frames';
import type { PanelProps, PanelType } from '.';

const LEGEND: VizLegendOptions = { displayMode: LegendDisplayMode.List, placement: 'bottom', showLegend: true, calcs: [] };

function draw({ panel, data, timeRange, width, height }: PanelProps) {
  const legend = { ...LEGEND, ...(panel.options?.legend as Partial<VizLegendOptions> | undefined) };
  return <TimeSeries frames={data} timeRange={timeRange} timeZone={TIME_ZONE} legend={legend} width={width} height={height} />;
}

export const timeseries: PanelType = { draw };
