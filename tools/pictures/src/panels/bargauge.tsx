// A bar per value, by Grafana's BarGauge.
import { BarGaugeDisplayMode, BarGaugeNamePlacement, BarGaugeValueMode } from '@grafana/schema';
import { BarGauge } from '@grafana/ui';
import type { PanelProps, PanelType } from '.';
import { Values, VALUES, type One, type ValueOptions } from './values';

interface Options extends ValueOptions {
  displayMode: BarGaugeDisplayMode;
  maxVizHeight: number;
  namePlacement: BarGaugeNamePlacement;
  showUnfilled: boolean;
  valueMode: BarGaugeValueMode;
}

/** What Grafana's panel takes where the dashboard says nothing. */
const OPTIONS: Options = {
  ...VALUES,
  displayMode: BarGaugeDisplayMode.Gradient,
  maxVizHeight: 300,
  namePlacement: BarGaugeNamePlacement.Auto,
  showUnfilled: true,
  valueMode: BarGaugeValueMode.Color,
};

function draw(props: PanelProps) {
  const options: Options = { ...OPTIONS, ...(props.panel.options as Partial<Options> | undefined) };
  const one = ({ value: { field, display, view, colIndex }, width, height, orientation, alignmentFactors }: One) => (
    <BarGauge
      value={display}
      field={field}
      display={view?.getFieldDisplayProcessor(colIndex ?? 0)}
      width={width}
      height={height}
      orientation={orientation}
      alignmentFactors={alignmentFactors}
      itemSpacing={8}
      lcdCellWidth={12}
      displayMode={options.displayMode}
      namePlacement={options.namePlacement}
      showUnfilled={options.showUnfilled}
      valueDisplayMode={options.valueMode}
      theme={props.theme}
    />
  );
  return <Values {...props} options={options} sparkline={false} one={one} maxVizHeight={options.maxVizHeight} />;
}

export const bargauge: PanelType = { draw };
