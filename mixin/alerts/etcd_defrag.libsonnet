// The action alert that asks the remediator for a defragmentation, long before free pages matter to anybody.
local promql = import '../lib/promql.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
  },

  local config = $._config,
  local names = config {
    exporter: config.ballastExporterSelector,
    etcd: promql.etcdLabels(config),
    member: promql.memberLabels(config),
    reclaimable: 'member:ballast_etcd_quota_reclaimable_bytes:min',
  },

  prometheusAlerts+:: {
    groups+: if config.actionAlertsEnabled then [
      promql.group('ballast-etcd-defrag.actions', config.actionEvaluationInterval, [
        {
          alert: 'EtcdDefragNeeded',
          // One for the whole etcd: while the members have their turns one after the other, it goes on. Under NOSPACE
          // etcd-free-space gives the space back, and compacts before.
          expr: |||
            max by (%(etcd)s) (
              %(reclaimable)s / on (%(member)s) max by (%(member)s) (ballast_etcd_quota_db_size_bytes{%(exporter)s}) > %(defragRatio)g
              and on (%(member)s)
              %(reclaimable)s > %(defragBytes)d
            )
            unless on (%(etcd)s)
            max by (%(etcd)s) (ballast_etcd_quota_alarm{%(exporter)s, alarm="NOSPACE"}) == 1
          ||| % names,
          'for': config.defragFor,
          keep_firing_for: config.defragKeepFiringFor,
          labels: { ballast_runbook: 'etcd-defrag', severity: 'none' },
          annotations: {
            summary: 'Asks the remediator to defragment a member of etcd.',
            description: promql.subject(config)
                         + ': up to {{ $value | humanizePercentage }} of a member\'s database file is free. Ballast\'s '
                         + 'remediator answers with the runbook etcd-defrag: it defragments one member (which answers nobody '
                         + 'meanwhile), the leader last, in a window of its policy; another member in the next one. Its policy '
                         + 'says whether it does so by itself, waits for an approval (the default) or only tells what it would '
                         + 'do: see ballastctl runs. People are told by EtcdFragmentationHigh, when it has come to matter.',
          },
        },
      ]),
    ] else [],
  },
}
