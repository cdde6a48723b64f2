// Ballast's own eyes. Every other alert is silent when its inputs are missing, so missing inputs wake somebody.
local promql = import '../lib/promql.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
  },

  local config = $._config,
  // Without a census nobody has to be woken: what it tells changes in hours.
  local urgent = 'collector!="etcd_keyspace"',
  local names = config { exporter: config.ballastExporterSelector, etcd: promql.etcdLabels(config), urgent: urgent },
  local cluster = '{{ with $labels.%(clusterLabel)s }} in cluster "{{ . }}"{{ end }}' % names,
  local consequence = ' Ballast\'s alerts that need it stay silent whatever happens, and nothing is remedied.',

  local blind(reason, expr, wait, description, severity='critical') = {
    alert: 'BallastExporterBlind',
    expr: expr % names,
    'for': wait,
    labels: { severity: severity, reason: reason },
    annotations: {
      summary: 'Ballast no longer sees what it watches.',
      description: description,
    },
  },

  prometheusAlerts+:: {
    groups+: [
      promql.group('ballast-exporter', config.evaluationInterval, [
        // Two halves: `absent` notices that no target is left anywhere, `max` that one cluster of many lost all of its.
        blind(
          'exporter_gone',
          |||
            max by (%(clusterLabel)s) (up{%(exporter)s}) == 0
            or
            absent(up{%(exporter)s})
          |||,
          config.blindFor,
          'Prometheus reaches no ballast-exporter' + cluster + '.' + consequence
          + ' Look at its pod and log, then at its ServiceMonitor.',
        ),
        // max: while one of several replicas sees the source, nobody is blind.
        blind(
          'collector_failing',
          |||
            max by (%(clusterLabel)s, collector) (ballast_collector_success{%(exporter)s, %(urgent)s}) == 0
          |||,
          config.blindFor,
          'Collector {{ $labels.collector }}' + cluster + ' fails on every poll.' + consequence
          + ' The exporter\'s start page and log give the reason; it is mostly an expired certificate or a changed password.',
        ),
        // A member that is down is data, and one etcd that refuses our credentials does not fail the others: the collector
        // succeeds although no number about this etcd is left. Not by member_up, which refused credentials leave absent.
        blind(
          'etcd_unreachable',
          |||
            max by (%(etcd)s) (ballast_etcd_quota_readable{%(exporter)s}) == 0
          |||,
          config.blindFor,
          'ballast-exporter reads no member of ' + promql.subject(config) + ': they do not answer, or refuse its credentials.'
          + consequence + ' The exporter\'s start page names the error of each. Refused credentials: look at its certificate and '
          + 'password for this etcd. Otherwise, if the apiserver answers, etcd does too, and the path from the exporter to it is '
          + 'cut: look at network policies, firewalls and the configured endpoints. If it does not, etcd is down: look at its '
          + 'members.',
        ),
        blind(
          'data_stale',
          |||
            time() - max by (%(clusterLabel)s, collector) (ballast_collector_last_success_timestamp_seconds{%(exporter)s, %(urgent)s}) > %(blindStaleSeconds)d
          |||,
          config.blindStaleFor,
          'Collector {{ $labels.collector }}' + cluster + ' last succeeded {{ $value | humanizeDuration }} ago: its source hangs.'
          + consequence + ' Look at the source first, then at the exporter\'s log.',
        ),
        // Whatever the reason is, a census that does not come to its end is told for three more and then no more. Only where one
        // is asked for, and of an etcd that answers: one that does not is etcd_unreachable.
        blind(
          'census_missing',
          |||
            max by (%(etcd)s) (ballast_etcd_quota_readable{%(exporter)s}) == 1
            and on (%(clusterLabel)s)
            ballast_collector_success{%(exporter)s, collector="etcd_keyspace"}
            unless on (%(etcd)s)
            ballast_etcd_keyspace_census_timestamp_seconds{%(exporter)s}
          |||,
          config.censusMissingFor,
          'ballast-exporter has no young census of ' + promql.subject(config) + ': what fills it is unknown. The alerts on growth, '
          + 'dominating resources, large objects and foreign keys stay silent; those on the quota and NOSPACE are not affected. The '
          + 'exporter\'s start page gives the reason: mostly a user without the right to read the keys, or a compaction that is '
          + 'faster than the census (raise keys_per_second).',
          'warning',
        ),
      ]),
    ],
  },
}
