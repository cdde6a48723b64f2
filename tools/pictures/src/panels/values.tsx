// What stat and bargauge share: a series reduced to one value, each drawn in its part of the panel.
import {
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  VizOrientation,
  type DisplayValueAlignmentFactors,
  type FieldDisplay,
  type ReduceDataOptions,
} from '@grafana/data';
import { VizRepeater, type VizRepeaterRenderValueProps } from '@grafana/ui';
import type { JSX } from 'react';
import { source, TIME_ZONE } from '../frames';
import type { PanelProps } from '.';

export interface ValueOptions {
  orientation: VizOrientation;
  reduceOptions: ReduceDataOptions;
}

/** What Grafana takes where the dashboard says nothing. */
export const VALUES: ValueOptions = {
  orientation: VizOrientation.Auto,
  reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
};

export type One = VizRepeaterRenderValueProps<FieldDisplay, DisplayValueAlignmentFactors>;

interface Props extends PanelProps {
  options: ValueOptions;
  sparkline: boolean;
  one: (props: One) => JSX.Element;
  /** Pixels; Grafana makes bars no higher. */
  maxVizHeight?: number;
}

export function Values({ panel, data, theme, width, height, options, sparkline, one, maxVizHeight }: Props) {
  const values = (): FieldDisplay[] =>
    getFieldDisplayValues({
      data,
      fieldConfig: source(panel),
      reduceOptions: options.reduceOptions,
      replaceVariables: (text) => text,
      sparkline,
      theme,
      timeZone: TIME_ZONE,
    });
  return (
    <VizRepeater
      getValues={values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={one}
      source={data}
      renderCounter={0}
      orientation={options.orientation}
      autoGrid
      maxVizHeight={maxVizHeight}
      width={width}
      height={height}
    />
  );
}
