// What Grafana's schema allows in a dashboard's JSON; check-dashboards.ts holds each dashboard against it. Every field
// is optional, none may be unknown, and what is an enumeration there is one of its words here.
import type { Dashboard, FieldConfigSource, Panel, RowPanel, VariableModel } from '@grafana/schema';
import type * as BarGauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as StateTimeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type { Query } from './picture';

type Json<T> = T extends string
  ? string extends T
    ? string
    : `${T}`
  : T extends readonly (infer Item)[]
    ? Json<Item>[]
    : T extends object
      ? { [Key in keyof T]?: Json<T[Key]> | (null extends T[Key] ? null : never) }
      : T;

type Known<T> = { [Key in keyof T as string extends Key ? never : Key]: T[Key] };

interface Target extends Query {
  datasource: { type: 'prometheus'; uid: string };
}

type Chart<Type extends string, Options, Custom = object> = Json<Omit<Known<Panel>, 'type' | 'options' | 'fieldConfig' | 'targets'>> & {
  type: Type;
  options?: Json<Options>;
  targets: Target[];
  fieldConfig: Omit<Json<Known<FieldConfigSource>>, 'defaults'> & {
    defaults: Omit<Json<Known<FieldConfigSource['defaults']>>, 'custom'> & { custom?: Json<Custom> };
  };
};

type AnyPanel =
  | Chart<'bargauge', BarGauge.Options>
  | Chart<'stat', Stat.Options>
  | Chart<'timeseries', TimeSeries.Options, TimeSeries.FieldConfig>
  | Chart<'state-timeline', StateTimeline.Options, StateTimeline.FieldConfig>
  | (Json<Omit<Known<RowPanel>, 'panels' | 'type'>> & { type: 'row'; panels: AnyPanel[] });

// Grafana writes `definition`, the query as a person reads it, into every dashboard; its schema forgets it.
type Variable = Json<Known<VariableModel>> & { definition?: string };

export type DashboardJson = Json<Omit<Known<Dashboard>, 'panels' | 'templating'>> & {
  panels: AnyPanel[];
  templating: { list: Variable[] };
};
