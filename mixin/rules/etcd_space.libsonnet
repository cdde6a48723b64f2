// How large etcd's data really is, how fast that grows, and when it reaches the quota.
local promql = import '../lib/promql.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
    kubeStateMetricsSelector: error 'set _config.kubeStateMetricsSelector, such as job="kube-state-metrics"',
  },

  local config = $._config,
  local names = {
    selector: config.ballastExporterSelector,
    by: promql.memberLabels(config),
    peak: 'member:ballast_etcd_quota_peak_in_use_bytes:max',
    growth: 'member:ballast_etcd_quota_growth_bytes_per_second:min',
    memory: promql.duration(config.peakCompactionIntervals * config.compactionIntervalSeconds),
  },

  // The physical file only grows when the pages in use outgrow their earlier peak, so the peak is what to project. Between
  // compactions the pages in use rise and fall like a saw; their running maximum does neither. It is held under the size
  // of the file: a defragmentation returns what was above, and the peak forgets it at once.
  // Until a series is old enough to have seen a peak, the file itself is the record of it: its size is the highest use
  // since the last defragmentation. Else the first tooth after installing the exporter would look like growth.
  // Aggregated first: a restarted exporter pod must not begin a new series, and a pair of exporters must not match twice.
  local peak = {
    record: names.peak,
    expr: |||
      (
        max by (%(by)s) (max_over_time(ballast_etcd_quota_db_in_use_bytes{%(selector)s}[%(memory)s]))
        and
        max by (%(by)s) (present_over_time(ballast_etcd_quota_db_in_use_bytes{%(selector)s}[%(interval)s] offset %(known)s))
      )
      < max by (%(by)s) (ballast_etcd_quota_db_size_bytes{%(selector)s})
      or
      max by (%(by)s) (ballast_etcd_quota_db_size_bytes{%(selector)s})
    ||| % names {
      interval: promql.duration(config.compactionIntervalSeconds),
      known: promql.duration((config.peakCompactionIntervals - 1) * config.compactionIntervalSeconds),
    },
  },

  // The least growth of the peak over any third of the window: growth has to go on to count. Absent, rather than 0 or
  // negative, where the peak does not grow; absent too while a series is younger than its window, since two samples
  // of a young series prove nothing.
  local growth(forecast, window) =
    local third = std.max(1, std.round(window / 3));
    {
      record: names.growth,
      expr: |||
        min_over_time((%(peak)s - %(peak)s offset %(third)s)[%(range)s:%(step)s]) / %(seconds)d > 0
        and
        present_over_time(%(peak)s[%(third)s] offset %(window)s)
      ||| % names {
        third: promql.duration(third),
        range: promql.duration(2 * third),
        window: promql.duration(3 * third),
        step: promql.duration(std.max(1, std.floor(third / 15))),
        seconds: third,
      },
      labels: { forecast: forecast },
    },

  // No limit metric (quota disabled or unknown), no result. Already above the limit, and still growing: 0 seconds.
  local timeToLimit(forecast, condition='') = {
    record: 'member:ballast_etcd_quota_time_to_limit_seconds:forecast',
    expr: |||
      clamp_min(
        min by (%(by)s) (ballast_etcd_quota_limit_bytes{%(selector)s}) - on (%(by)s) %(peak)s,
        0
      )
      / on (%(by)s)
      %(growth)s{forecast="%(forecast)s"}%(condition)s
    ||| % names { forecast: forecast, condition: condition },
    labels: { forecast: forecast },
  },

  prometheusRules+:: {
    groups+: [
      // One group: its rules are evaluated in order, each seeing what the one before recorded at the same moment.
      promql.group('ballast-etcd-space.rules', config.evaluationInterval, [
        peak,
        {
          // What a defragmentation would return, and compaction's next cycle would not take again.
          record: 'member:ballast_etcd_quota_reclaimable_bytes:min',
          expr: |||
            max by (%(by)s) (ballast_etcd_quota_db_size_bytes{%(selector)s}) - on (%(by)s) %(peak)s
          ||| % names,
        },
        growth('burst', config.forecastBurstWindowSeconds),
        growth('short', config.forecastShortWindowSeconds),
        growth('long', config.forecastLongWindowSeconds),
        timeToLimit('short'),
        timeToLimit('long'),
        // Compaction may yet return a burst, unless the limit comes first.
        timeToLimit('burst', '\n<= %d' % config.forecastBurstHorizonSeconds),
        {
          // A node counts once, however many replicas of kube-state-metrics report it.
          record: 'cluster:kube_node_info:count',
          expr: |||
            count by (%(cluster)s) (count by (%(cluster)s, node) (kube_node_info{%(selector)s}))
          ||| % { cluster: config.clusterLabel, selector: config.kubeStateMetricsSelector },
        },
      ]),
    ],
  },
}
