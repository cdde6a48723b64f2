// etcd's quota: reached, about to be reached, wasted, or too small. And the action alert that the remediator answers.
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
    subject: promql.subject(config),
    timeToLimit: 'member:ballast_etcd_quota_time_to_limit_seconds:forecast',
    reclaimable: 'member:ballast_etcd_quota_reclaimable_bytes:min',
  },

  // Only the raised alarm counts: it is what makes etcd refuse writes, and it stays raised until somebody disarms it.
  local noSpace = |||
    max by (%(etcd)s) (ballast_etcd_quota_alarm{%(exporter)s, alarm="NOSPACE"}) == 1
  ||| % names,

  local alarmedMembers = promql.lookUp(
    config,
    'ballast_etcd_quota_alarm{alarm="NOSPACE",%s} == 1',
    ' Alarm raised by:{{ range . | sortByLabel "member" }} {{ .Labels.member }}{{ end }}.',
  ),

  local worstMember(forecasts) = promql.lookUp(
    config,
    'bottomk(1, %s{forecast=~"%s",%%s})' % [names.timeToLimit, forecasts],
    ' Member {{ . | first | label "member" }} gets there first.',
  ),
  local usage = promql.lookUp(
    config,
    'max(ballast_etcd_quota_used_ratio{%s})',
    ' Its file fills {{ . | first | value | humanizePercentage }} of the quota now.',
  ),

  local cause = promql.cause(config),

  local predicted(severity, forecasts, seconds, wait, advice) = {
    alert: 'EtcdQuotaExhaustionPredicted',
    expr: |||
      min by (%(etcd)s) (%(timeToLimit)s{forecast=~"%(forecasts)s"}) < %(seconds)d
    ||| % names { forecasts: forecasts, seconds: seconds },
    'for': wait,
    keep_firing_for: config.predictedKeepFiringFor,
    labels: { severity: severity },
    annotations: {
      summary: 'etcd is about to reach its quota and refuse writes.',
      description: names.subject
                   + ' reaches its quota in {{ $value | humanizeDuration }} at the rate it keeps growing; then it refuses '
                   + 'every write.' + worstMember(forecasts) + usage + cause + ' ' + advice,
    },
  },

  prometheusAlerts+:: {
    groups+: [
      promql.group('ballast-etcd-space', config.evaluationInterval, [
        {
          alert: 'EtcdNoSpace',
          expr: noSpace,
          // No `for`: the control plane is read-only already.
          keep_firing_for: config.noSpaceKeepFiringFor,
          labels: { severity: 'critical' },
          annotations: {
            summary: 'etcd is full and refuses writes: the cluster is read-only.',
            description: names.subject
                         + ' has raised NOSPACE: no object can be created or changed and no lease renewed until space is freed '
                         + 'and the alarm is disarmed.' + alarmedMembers + cause
                         + ' First look whether Ballast already frees the space (ballastctl runs); if it does not, compact, '
                         + 'defragment one member at a time, then disarm.',
          },
        },
        predicted(
          'critical',
          'burst|short',
          config.predictedCriticalSeconds,
          config.predictedCriticalFor,
          'Find and stop what writes, and check that compaction still runs.',
        ),
        predicted(
          'warning',
          'long',
          config.predictedWarningSeconds,
          config.predictedWarningFor,
          'Find what grows, then clean up or raise the quota during working hours.',
        ),
        {
          alert: 'EtcdFragmentationHigh',
          expr: |||
            %(reclaimable)s / on (%(member)s) max by (%(member)s) (ballast_etcd_quota_db_size_bytes{%(exporter)s}) > %(fragmentationRatio)g
            and on (%(member)s)
            %(reclaimable)s > %(fragmentationBytes)d
            unless on (%(member)s)
            max by (%(member)s) (ballast_etcd_quota_used_ratio{%(exporter)s}) <= %(fragmentationUsedRatio)g
          ||| % names,
          'for': config.fragmentationFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'Much of an etcd member\'s database file is free pages.',
            description: 'Member {{ $labels.member }} of ' + names.subject
                         + ': {{ $value | humanizePercentage }} of its database file is free' + promql.lookUp(
              config,
              '%s{%%s}' % names.reclaimable,
              '{{ range . }}{{ if eq .Labels.member $labels.member }} ({{ .Value | humanize1024 }}B){{ end }}{{ end }}',
            ) + ', yet the quota counts it as used. Defragment the members one at a time, the leader last, at a quiet hour.',
          },
        },
        {
          alert: 'EtcdQuotaDefaultOnLargeCluster',
          expr: |||
            min by (%(etcd)s) (ballast_etcd_quota_limit_bytes{%(exporter)s}) == %(quotaDefaultBytes)d
            and on (%(clusterLabel)s)
            cluster:kube_node_info:count >= %(largeClusterNodes)d
          ||| % names,
          'for': config.quotaDefaultFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'A large cluster runs on etcd\'s default quota.',
            description: names.subject
                         + ' still has the default quota of {{ $value | humanize1024 }}B, and the cluster has %d nodes or more: a '
                           % config.largeClusterNodes
                         + 'burst of events or a compaction that stands still can fill it within minutes. Set '
                         + '--quota-backend-bytes=%d on every member, one restart at a time.' % config.quotaSuggestedBytes,
          },
        },
      ]),
    ] + if config.actionAlertsEnabled then [
      promql.group('ballast-etcd-space.actions', config.actionEvaluationInterval, [
        {
          alert: 'EtcdFreeSpaceNeeded',
          expr: noSpace,
          // The cure itself makes members look down; without this the alert would resolve, and fire anew, in mid-run.
          keep_firing_for: config.freeSpaceKeepFiringFor,
          labels: { ballast_runbook: 'etcd-free-space', severity: 'none' },
          annotations: {
            summary: 'Asks the remediator to free space in etcd.',
            description: names.subject
                         + ' has raised NOSPACE. Ballast\'s remediator answers with the runbook etcd-free-space: a snapshot, '
                         + 'compaction, defragmentation of one member at a time (which answers nobody meanwhile), the leader '
                         + 'last; then it lifts the alarm. Its policy says whether it does so by itself, waits for an approval '
                         + '(the default) or only tells what it would do: see ballastctl runs. People are told by EtcdNoSpace.',
          },
        },
      ]),
    ] else [],
  },
}
