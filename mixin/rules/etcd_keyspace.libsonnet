// Whose the bytes in etcd are, as ballast-exporter's census counts them. Aggregated once, here: a restarted exporter must not
// begin a new series, and of a pair of exporters each counts at a moment of its own.
local promql = import '../lib/promql.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
  },

  local config = $._config,
  local names = {
    selector: config.ballastExporterSelector,
    etcd: promql.etcdLabels(config),
    resource: promql.resourceLabels(config),
    live: 'resource:ballast_etcd_keyspace_live_bytes:max',
    foreign: 'etcd:ballast_etcd_keyspace_foreign_bytes:sum',
    total: 'etcd:ballast_etcd_keyspace_live_bytes:sum',
    growthWindow: promql.duration(config.censusGrowthWindowSeconds),
  },

  prometheusRules+:: {
    groups+: [
      promql.group('ballast-etcd-keyspace.rules', config.evaluationInterval, [
        {
          record: names.live,
          expr: |||
            max by (%(resource)s) (ballast_etcd_keyspace_live_bytes{%(selector)s})
          ||| % names,
        },
        {
          record: names.foreign,
          expr: |||
            sum by (%(etcd)s) (max by (%(etcd)s, owner) (ballast_etcd_keyspace_foreign_bytes{%(selector)s}))
          ||| % names,
        },
        {
          // Foreign keys share the quota, so they are part of the whole.
          record: names.total,
          expr: |||
            sum by (%(etcd)s) (%(live)s or %(foreign)s)
          ||| % names,
        },
        {
          record: 'resource:ballast_etcd_keyspace_live_bytes:share',
          expr: |||
            %(live)s / on (%(etcd)s) group_left %(total)s
          ||| % names,
        },
        {
          record: 'resource:ballast_etcd_keyspace_writes:share',
          expr: |||
            max by (%(resource)s) (ballast_etcd_keyspace_writes_per_second{%(selector)s})
            / on (%(etcd)s) group_left ()
            (sum by (%(etcd)s) (max by (%(resource)s) (ballast_etcd_keyspace_writes_per_second{%(selector)s})) > 0)
          ||| % names,
        },
        {
          // What neither compaction nor defragmentation returns, on well filled pages. No quota, no result.
          record: 'etcd:ballast_etcd_keyspace_live_bytes:quota_ratio',
          expr: |||
            max by (%(etcd)s) (ballast_etcd_keyspace_space_bytes{%(selector)s, part="live"})
            / on (%(etcd)s)
            min by (%(etcd)s) (ballast_etcd_quota_limit_bytes{%(selector)s})
          ||| % names,
        },
        {
          // A line through all censuses of the window, which one odd census hardly moves.
          record: 'resource:ballast_etcd_keyspace_growth_bytes_per_second:deriv',
          expr: |||
            deriv(%(live)s[%(growthWindow)s])
          ||| % names,
        },
        {
          // At the growth of live data, with history as it is: free pages are used up first. Absent where nothing grows.
          record: 'etcd:ballast_etcd_keyspace_time_to_limit_seconds:deriv',
          expr: |||
            clamp_min(
              min by (%(etcd)s) (ballast_etcd_quota_limit_bytes{%(selector)s})
              - on (%(etcd)s)
              sum by (%(etcd)s) (max by (%(etcd)s, part) (ballast_etcd_keyspace_space_bytes{%(selector)s, part!="free"})),
              0
            )
            / on (%(etcd)s)
            (deriv(%(total)s[%(growthWindow)s]) > 0)
          ||| % names,
        },
      ]),
    ],
  },
}
