// A band per series whose colour is its state. Grafana's own is no part of @grafana/ui: this one stands on its plot.
import { getFieldDisplayName, type DataFrame, type Field, type GrafanaTheme2, type TimeRange } from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation, VisibilityMode } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder } from '@grafana/ui';
import { useMemo } from 'react';
import type uPlot from 'uplot';
import { TIME_ZONE } from '../frames';
import { spans, type Span } from '../spans';
import type { PanelProps, PanelType } from '.';

interface Options {
  mergeValues: boolean;
  rowHeight: number;
  showValue: VisibilityMode;
}

const OPTIONS: Options = { mergeValues: true, rowHeight: 0.9, showValue: VisibilityMode.Auto };

/** What Grafana's panel takes where the dashboard says nothing. */
const CUSTOM = { fillOpacity: 70, lineWidth: 0 };

const FONT_SIZE = 12;
const PADDING = 4;

interface Band {
  name: string;
  field: Field;
  spans: Span[];
}

function bands(data: DataFrame[], options: Options): Band[] {
  return data.flatMap((frame) => {
    const [time, field] = frame.fields;
    if (!time || !field) {
      return [];
    }
    const found = spans(time.values, field.values, time.config.interval ?? 0, options.mergeValues);
    return [{ name: getFieldDisplayName(field, frame, data), field, spans: found }];
  });
}

function configure(rows: Band[], options: Options, theme: GrafanaTheme2, range: TimeRange): UPlotConfigBuilder {
  const builder = new UPlotConfigBuilder(TIME_ZONE);
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  builder.addScale({
    scaleKey: 'x',
    isTime: true,
    orientation: ScaleOrientation.Horizontal,
    direction: ScaleDirection.Right,
    range: () => [from, to],
  });
  builder.addScale({
    scaleKey: 'y',
    orientation: ScaleOrientation.Vertical,
    direction: ScaleDirection.Down,
    range: () => [0, rows.length],
  });
  builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, timeZone: TIME_ZONE, theme });
  builder.addAxis({
    scaleKey: 'y',
    placement: AxisPlacement.Left,
    theme,
    splits: () => rows.map((_, index) => index + 0.5),
    values: () => rows.map(({ name }) => name),
    grid: { show: false },
    ticks: { show: false },
  });
  // uPlot wants a series to have a y scale at all; the bands are drawn by hand.
  builder.addSeries({ scaleKey: 'y', theme, lineWidth: 0 });
  builder.addHook('draw', (plot) => rows.forEach((row, index) => paint(plot, row, index, options, theme)));
  return builder;
}

function paint(plot: uPlot, { field, spans: stretches }: Band, index: number, options: Options, theme: GrafanaTheme2): void {
  const { ctx, bbox } = plot;
  const { fillOpacity } = field.config.custom as typeof CUSTOM;
  const margin = (1 - options.rowHeight) / 2;
  const top = plot.valToPos(index + margin, 'y', true);
  const height = plot.valToPos(index + 1 - margin, 'y', true) - top;
  const end = bbox.left + bbox.width;
  ctx.save();
  for (const { from, to, value } of stretches) {
    const left = Math.max(bbox.left, plot.valToPos(from, 'x', true));
    const width = Math.min(end, plot.valToPos(to, 'x', true)) - left;
    const { text, color = theme.colors.text.primary } = field.display!(value);
    ctx.globalAlpha = fillOpacity / 100;
    ctx.fillStyle = color;
    ctx.fillRect(left, top, width, height);
    ctx.globalAlpha = 1;
    ctx.fillStyle = theme.colors.getContrastText(color);
    write(ctx, text, { left, width, middle: top + height / 2 }, options.showValue, theme);
  }
  ctx.restore();
}

interface Place {
  left: number;
  width: number;
  middle: number;
}

function write(
  ctx: CanvasRenderingContext2D,
  text: string,
  { left, width, middle }: Place,
  when: VisibilityMode,
  theme: GrafanaTheme2,
): void {
  ctx.font = `${FONT_SIZE * devicePixelRatio}px ${theme.typography.fontFamily}`;
  ctx.textAlign = 'left';
  ctx.textBaseline = 'middle';
  const fits = ctx.measureText(text).width + 2 * PADDING <= width;
  if (when === VisibilityMode.Always || (when === VisibilityMode.Auto && fits)) {
    ctx.fillText(text, left + PADDING, middle);
  }
}

function Timeline({ panel, data, timeRange, theme, width, height }: PanelProps) {
  const options: Options = { ...OPTIONS, ...(panel.options as Partial<Options> | undefined) };
  const rows = useMemo(() => bands(data, options), [data]);
  const config = useMemo(() => configure(rows, options, theme, timeRange), [rows]);
  const ends = [timeRange.from.valueOf(), timeRange.to.valueOf()];
  return <UPlotChart config={config} data={[ends, [0, rows.length]]} width={width} height={height} />;
}

export const stateTimeline: PanelType = { draw: (props) => <Timeline {...props} />, defaults: { custom: CUSTOM } };
