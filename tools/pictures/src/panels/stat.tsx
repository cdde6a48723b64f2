// Single values, by Grafana's BigValue.
import { getDisplayValueAlignmentFactors, getFieldDisplayValues, VizOrientation, type FieldDisplay } from '@grafana/data';
import type { DisplayValueAlignmentFactors, ReduceDataOptions } from '@grafana/data';
import {
  BigValue,
  BigValueColorMode,
  BigValueGraphMode,
  BigValueJustifyMode,
  BigValueTextMode,
  VizRepeater,
  type VizRepeaterRenderValueProps,
} from '@grafana/ui';
import { source, TIME_ZONE } from '../frames';
import type { PanelProps, PanelType } from '.';

interface Options {
  colorMode: BigValueColorMode;
  graphMode: BigValueGraphMode;
  justifyMode: BigValueJustifyMode;
  textMode: BigValueTextMode;
  orientation: VizOrientation;
  reduceOptions: ReduceDataOptions;
}

/** What Grafana's stat panel takes where the dashboard says nothing. */
const OPTIONS: Options = {
  colorMode: BigValueColorMode.Value,
  graphMode: BigValueGraphMode.Area,
  justifyMode: BigValueJustifyMode.Auto,
  textMode: BigValueTextMode.Auto,
  orientation: VizOrientation.Auto,
  reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
};

function draw({ panel, data, timeRange, theme, width, height }: PanelProps) {
  const options: Options = { ...OPTIONS, ...(panel.options as Partial<Options> | undefined) };
  const values = (): FieldDisplay[] =>
    getFieldDisplayValues({
      data,
      fieldConfig: source(panel),
      reduceOptions: options.reduceOptions,
      replaceVariables: (text) => text,
      sparkline: options.graphMode !== BigValueGraphMode.None,
      theme,
      timeZone: TIME_ZONE,
    });
  const one = (props: VizRepeaterRenderValueProps<FieldDisplay, DisplayValueAlignmentFactors>) => (
    <BigValue
      value={props.value.display}
      sparkline={props.value.sparkline && { ...props.value.sparkline, timeRange }}
      count={props.count}
      width={props.width}
      height={props.height}
      colorMode={options.colorMode}
      graphMode={options.graphMode}
      justifyMode={options.justifyMode}
      textMode={options.textMode}
      alignmentFactors={props.alignmentFactors}
      theme={theme}
    />
  );
  return (
    <VizRepeater
      getValues={values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={one}
      source={data}
      renderCounter={0}
      orientation={options.orientation}
      autoGrid
      width={width}
      height={height}
    />
  );
}

export const stat: PanelType = { draw, drawsEmpty: true };
