// One verdict for each apiserver, whatever the number of exporters, as a number for dashboards. Alerts do not read it: groups
// are evaluated at different moments, and that would cost them up to an interval.
local promql = import '../lib/promql.libsonnet';
local stall = import '../lib/stall.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
  },

  local config = $._config,
  local code(verdict) = '%d * (\n%s\n)' % [stall.verdicts[verdict], stall.agreed(config, verdict)],

  prometheusRules+:: {
    groups+: [
      promql.group('ballast-apiserver-path.rules', config.pathEvaluationInterval, [
        {
          record: 'apiserver:ballast_grpc_stall_verdict:code',
          expr: std.join('\nor\n', [code(verdict) for verdict in std.objectFields(stall.verdicts)]) + '\n',
        },
      ]),
    ],
  },
}
