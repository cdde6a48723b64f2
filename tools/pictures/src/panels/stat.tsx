// Single values, by Grafana's BigValue.
import { BigValue, BigValueColorMode, BigValueGraphMode, BigValueJustifyMode, BigValueTextMode } from '@grafana/ui';
import type { PanelProps, PanelType } from '.';
import { Values, VALUES, type One, type ValueOptions } from './values';

interface Options extends ValueOptions {
  colorMode: BigValueColorMode;
  graphMode: BigValueGraphMode;
  justifyMode: BigValueJustifyMode;
  textMode: BigValueTextMode;
}

/** What Grafana's stat panel takes where the dashboard says nothing. */
const OPTIONS: Options = {
  ...VALUES,
  colorMode: BigValueColorMode.Value,
  graphMode: BigValueGraphMode.Area,
  justifyMode: BigValueJustifyMode.Auto,
  textMode: BigValueTextMode.Auto,
};

function draw(props: PanelProps) {
  const { panel, timeRange, theme } = props;
  const options: Options = { ...OPTIONS, ...(panel.options as Partial<Options> | undefined) };
  const one = ({ value: { display, sparkline }, ...place }: One) => (
    <BigValue
      {...place}
      value={display}
      sparkline={sparkline && { ...sparkline, timeRange }}
      colorMode={options.colorMode}
      graphMode={options.graphMode}
      justifyMode={options.justifyMode}
      textMode={options.textMode}
      theme={theme}
    />
  );
  return <Values {...props} options={options} sparkline={options.graphMode !== BigValueGraphMode.None} one={one} />;
}

export const stat: PanelType = { draw, drawsEmpty: true };
