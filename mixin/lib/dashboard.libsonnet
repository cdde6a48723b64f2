// A dashboard out of rows of panels: the grid, the variables and the defaults are decided here once.
local variable(name, label, query, hide=0) = {
  name: name,
  label: label,
  type: 'query',
  datasource: { type: 'prometheus', uid: '${datasource}' },
  query: { query: query, refId: name },
  definition: query,
  includeAll: true,
  // Matches series without the label too, which is how a Prometheus of one cluster stores them.
  allValue: '.*',
  current: { selected: true, text: 'All', value: '$__all' },
  multi: true,
  refresh: 2,
  sort: 1,
  hide: hide,
};

{
  datasource:: {
    name: 'datasource',
    label: 'Data source',
    type: 'datasource',
    query: 'prometheus',
    current: { selected: true, text: 'prometheus', value: 'prometheus' },
    regex: '',
    hide: 0,
  },
  variable:: variable,

  target(expr, legend):: {
    expr: expr,
    legendFormat: legend,
    datasource: { type: 'prometheus', uid: '${datasource}' },
    range: true,
  },
  instant(expr, legend):: $.target(expr, legend) { range: false, instant: true },

  // steps: the colour from the start, then [from, colour] pairs upwards.
  thresholds(start, steps):: {
    mode: 'absolute',
    steps: [{ color: start, value: null }] + [{ color: step[1], value: step[0] } for step in steps],
  },

  local panel(type, title, description, targets, unit) = {
    type: type,
    title: title,
    description: description,
    datasource: { type: 'prometheus', uid: '${datasource}' },
    targets: [targets[i] { refId: std.char(65 + i) } for i in std.range(0, std.length(targets) - 1)],
    fieldConfig: { defaults: { unit: unit }, overrides: [] },
  },

  // What one value means in words.
  word(value, text, colour):: { type: 'value', options: { [std.toString(value)]: { text: text, color: colour, index: 0 } } },

  // One value, large and coloured, with the name of its series where a target gives it a legend.
  big(title, description, targets, unit, thresholds, words=[])::
    panel('stat', title, description, targets, unit) {
      fieldConfig+: {
        defaults+: {
          thresholds: thresholds,
          // Without it Grafana paints what is missing in the colour of the lowest threshold: green, or red, for no reason.
          mappings: words + [
            { type: 'special', options: { match: 'null', result: { text: 'unknown', color: '#808080', index: 1 } } },
          ],
          // The same without mappings.
          noValue: 'unknown',
          // Not "17 seconds, 53 milliseconds": what is read at a glance has to be short.
          [if unit == 's' then 'decimals']: 1,
          color: { mode: 'thresholds' },
        },
      },
      options: {
        colorMode: 'background',
        graphMode: 'none',
        justifyMode: 'center',
        textMode: if targets[0].legendFormat == '' then 'value' else 'value_and_name',
        reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
      },
    },

  // Lines over time. empty: what it means when there are none, where that is no fault.
  lines(title, description, targets, unit, min=0, empty=null)::
    panel('timeseries', title, description, targets, unit) {
      fieldConfig+: {
        defaults+: {
          [if min != null then 'min']: min,
          [if empty != null then 'noValue']: empty,
          color: { mode: 'palette-classic' },
          custom: { drawStyle: 'line', lineWidth: 1, fillOpacity: 8, showPoints: 'never', spanNulls: false },
        },
      },
      options: {
        legend: { displayMode: 'table', placement: 'bottom', showLegend: true, calcs: ['lastNotNull', 'max'] },
        tooltip: { mode: 'multi', sort: 'desc' },
      },
    },

  // The same name has the same colour wherever it stands, and the largest stand first.
  byName:: {
    fieldConfig+: { defaults+: { color: { mode: 'palette-classic-by-name' } } },
    options+: { legend+: { sortBy: 'Last *', sortDesc: true } },
  },

  // One upon the other: the whole is what matters, and whose it is.
  stacked:: {
    fieldConfig+: { defaults+: { custom+: { lineWidth: 0, fillOpacity: 65, stacking: { mode: 'normal', group: 'A' } } } },
  },

  // A bar per series, as they stand now and in the order in which Prometheus gives them. max: where a bar is full. Long names
  // have room above their bar ('top').
  bars(title, description, targets, unit, thresholds, max=null, empty=null, namePlacement='left')::
    panel('bargauge', title, description, targets, unit) {
      fieldConfig+: {
        defaults+: {
          min: 0,
          [if max != null then 'max']: max,
          [if empty != null then 'noValue']: empty,
          [if unit == 's' then 'decimals']: 1,
          thresholds: thresholds,
          color: { mode: 'thresholds' },
        },
      },
      options: {
        orientation: 'horizontal',
        displayMode: 'basic',
        valueMode: 'color',
        namePlacement: namePlacement,
        showUnfilled: true,
        sizing: 'manual',
        minVizHeight: 10,
        maxVizHeight: 44,
        reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
      },
    },

  // For panels of half the width: below the lines there is room for four series, and the limit would be hidden.
  legendBeside:: { options+: { legend+: { placement: 'right' } } },

  local override(legend, properties) = {
    matcher: { id: 'byRegexp', options: legend },
    properties: [{ id: property, value: properties[property] } for property in std.objectFields(properties)],
  },
  // Three looks that are told apart without the legend: a limit, a hull and what fills it.
  dashed(legend, colour)::
    override(legend, {
      'custom.lineStyle': { fill: 'dash', dash: [10, 8] },
      'custom.fillOpacity': 0,
      'custom.lineWidth': 1,
      'custom.stacking': { mode: 'none', group: 'B' },
      color: { mode: 'fixed', fixedColor: colour },
    }),
  // A line among bands.
  alone(legend, colour):: override(legend, {
    'custom.lineWidth': 1,
    'custom.fillOpacity': 0,
    'custom.stacking': { mode: 'none', group: 'B' },
    color: { mode: 'fixed', fixedColor: colour },
  }),
  // One part of a whole whose colour means something.
  coloured(legend, colour):: override(legend, { color: { mode: 'fixed', fixedColor: colour } }),
  bold(legend):: override(legend, { 'custom.lineWidth': 2, 'custom.fillOpacity': 0 }),
  // One colour for all: areas of several members lie upon each other, and a mix of the palette's looks like an alarm.
  filled(legend)::
    override(legend, { 'custom.lineWidth': 0, 'custom.fillOpacity': 25, color: { mode: 'fixed', fixedColor: 'purple' } }),
  // The background coloured by the thresholds, cut off at `max`.
  zones(max, thresholds):: {
    fieldConfig+: { defaults+: { max: max, thresholds: thresholds, custom+: { thresholdsStyle: { mode: 'area' } } } },
  },

  // A horizontal band per series whose colour is its state. states: [[value, text, colour], …]
  states(title, description, targets, states)::
    panel('state-timeline', title, description, targets, 'none') {
      fieldConfig+: {
        defaults+: {
          mappings: [
            {
              type: 'value',
              options: {
                [std.toString(states[i][0])]: { text: states[i][1], color: states[i][2], index: i }
                for i in std.range(0, std.length(states) - 1)
              },
            },
          ],
          color: { mode: 'thresholds' },
          custom: { fillOpacity: 70, lineWidth: 0 },
        },
      },
      options: { mergeValues: true, showValue: 'auto', rowHeight: 0.8, legend: { displayMode: 'list', placement: 'bottom', showLegend: false } },
    },

  // Takes what is left of its row's columns when they are shared out.
  wide:: { wide:: true },

  // rows: [[title, height, [panel, …]], …]; the panels of a row share Grafana's 24 columns evenly.
  dashboard(uid, title, description, config, variables, rows):: {
    local place(row, y, first) =
      local width = std.floor(24 / std.length(row[2]));
      local widths = [width + (if std.objectHasAll(each, 'wide') then 24 - width * std.length(row[2]) else 0) for each in row[2]];
      [{ type: 'row', title: row[0], collapsed: false, panels: [], id: first, gridPos: { x: 0, y: y, w: 24, h: 1 } }] + [
        row[2][i] { id: first + 1 + i, gridPos: { x: std.sum(widths[:i]), y: y + 1, w: widths[i], h: row[1] } }
        for i in std.range(0, std.length(row[2]) - 1)
      ],
    local step(done, row) = {
      y: done.y + row[1] + 1,
      next: done.next + 1 + std.length(row[2]),
      panels: done.panels + place(row, done.y, done.next),
    },

    uid: uid,
    title: title,
    description: description + ' Generated from mixin/ by `make generate`: changes made here are lost.',
    tags: config.dashboardTags,
    panels: std.foldl(step, rows, { y: 0, next: 1, panels: [] }).panels,
    templating: { list: [$.datasource] + variables },
    time: { from: 'now-6h', to: 'now' },
    timezone: 'browser',
    refresh: config.dashboardRefresh,
    editable: false,
    graphTooltip: 1,
    schemaVersion: 39,
    links: [],
    annotations: { list: [] },
  },
}
