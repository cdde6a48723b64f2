// Prometheus' answers as Grafana's frames, with the panel's units, thresholds, mappings and overrides applied.
import {
  applyFieldOverrides,
  FieldConfigOptionsRegistry,
  FieldType,
  identityOverrideProcessor,
  type DataFrame,
  type FieldConfigPropertyItem,
  type FieldConfigSource,
  type GrafanaTheme2,
} from '@grafana/data';
import type { Answer, Panel, Series } from './picture';

export const TIME_ZONE = 'utc';

/** What a panel type of Grafana sets where the dashboard says nothing. */
export interface Defaults {
  custom?: object;
}

export function frames(panel: Panel, answers: Answer[], theme: GrafanaTheme2, defaults: Defaults = {}): DataFrame[] {
  const fieldConfig = source(panel, defaults);
  return applyFieldOverrides({
    data: answers.flatMap((answer) => answer.series.map((series) => frame(answer, series))),
    fieldConfig,
    fieldConfigRegistry: registry(fieldConfig),
    replaceVariables: (text) => text,
    theme,
    timeZone: TIME_ZONE,
  });
}

function frame({ refId, step }: Answer, { name, labels, times, values }: Series): DataFrame {
  return {
    refId,
    length: times.length,
    fields: [
      { name: 'Time', type: FieldType.time, config: { interval: step }, values: times },
      { name: 'Value', type: FieldType.number, config: { displayNameFromDS: name }, labels, values },
    ],
  };
}

/** The panel's field configuration as Grafana holds it: JSON has no infinity, so the lowest threshold starts at null. */
export function source(panel: Panel, { custom }: Defaults = {}): FieldConfigSource {
  const { defaults = {}, overrides = [] } = (panel.fieldConfig ?? {}) as Partial<FieldConfigSource>;
  const steps = defaults.thresholds?.steps.map((step) => ({ ...step, value: step.value ?? -Infinity }));
  return {
    defaults: {
      ...defaults,
      custom: { ...custom, ...defaults.custom },
      ...(defaults.thresholds && steps && { thresholds: { ...defaults.thresholds, steps } }),
    },
    overrides,
  };
}

/** Grafana applies what its registry of options knows: here, whatever this panel sets. */
function registry({ defaults, overrides }: FieldConfigSource): FieldConfigOptionsRegistry {
  const ids = new Set([
    ...Object.keys(defaults).filter((key) => key !== 'custom'),
    ...Object.keys(defaults.custom ?? {}).map((key) => `custom.${key}`),
    ...overrides.flatMap(({ properties }) => properties.map(({ id }) => id)),
  ]);
  return new FieldConfigOptionsRegistry(() => [...ids].map(item));
}

function item(id: string): FieldConfigPropertyItem {
  const isCustom = id.startsWith('custom.');
  return {
    id,
    path: isCustom ? id.slice('custom.'.length) : id,
    name: id,
    isCustom,
    process: identityOverrideProcessor,
    shouldApply: (field) => field.type !== FieldType.time,
    editor: () => null,
    override: () => null,
  };
}
