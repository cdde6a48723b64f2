// What fills etcd: a resource that grows fast or takes most of it, objects that soon cannot be changed any more, strangers.
// The thresholds and the words are those of `ballastctl etcd space` (lib/kube_ballast/analysis/space.py).
local promql = import '../lib/promql.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
  },

  local config = $._config,
  local names = config {
    exporter: config.ballastExporterSelector,
    etcd: promql.etcdLabels(config),
    resource: promql.resourceLabels(config),
    live: 'resource:ballast_etcd_keyspace_live_bytes:max{resource!="(other)"}',
    dayBefore: 'max_over_time(resource:ballast_etcd_keyspace_live_bytes:max[%s] offset %s)' % [
      promql.duration(config.doubledGapSeconds),
      promql.duration(config.doubledWithinSeconds),
    ],
  },
  local subject = promql.subject(config),

  // kube-apiserver's own groups, as analysis/keyspace.py knows them: only these can have an etcd of their own.
  local builtIn = '^(|admissionregistration[.]k8s[.]io|apps|autoscaling|batch|certificates[.]k8s[.]io|coordination[.]k8s[.]io|'
                  + 'discovery[.]k8s[.]io|flowcontrol[.]apiserver[.]k8s[.]io|internal[.]apiserver[.]k8s[.]io|'
                  + 'networking[.]k8s[.]io|node[.]k8s[.]io|policy|rbac[.]authorization[.]k8s[.]io|resource[.]k8s[.]io|'
                  + 'scheduling[.]k8s[.]io|storage[.]k8s[.]io|storagemigration[.]k8s[.]io)$',

  local what = '{{ $labels.resource }}{{ with $labels.group }}.{{ . }}{{ end }}',
  local ofResource(expr, body) = promql.lookUp(config, expr, body, ['etcd_cluster', 'group', 'resource']),
  local number = '{{ . | first | value | humanize }}',
  local bytes = '{{ . | first | value | humanize1024 }}B',
  local percent = '{{ . | first | value | humanizePercentage }}',

  local warning(name, summary, description, expr, wait) = {
    alert: name,
    expr: expr % names,
    'for': wait,
    labels: { severity: 'warning' },
    annotations: { summary: summary, description: description },
  },

  prometheusAlerts+:: {
    groups+: [
      promql.group('ballast-etcd-keyspace', config.evaluationInterval, [
        warning(
          'EtcdResourceDoubled',
          'A resource takes twice the room in etcd that it took a day ago.',
          what + ' in ' + subject + ' take {{ $value | humanize }} times what they took a day ago'
          + ofResource('resource:ballast_etcd_keyspace_live_bytes:max{%s}', ': ' + bytes + ' now')
          + ofResource('max by (resource) (ballast_etcd_keyspace_keys{%s})', ', in ' + number + ' objects')
          + '. Find who makes them and what should remove them: ballastctl etcd space --watch 5m shows whether it goes on.',
          // Less the error of an estimate; where that is unknown, or nothing was counted a day ago, so is the answer.
          |||
            (
              %(live)s
              - on (%(resource)s)
              max by (%(resource)s) (ballast_etcd_keyspace_sampling_error_bytes{%(exporter)s})
            )
            / on (%(resource)s)
            %(dayBefore)s
            >= %(doubledRatio)g
            and on (%(resource)s)
            %(live)s - on (%(resource)s) %(dayBefore)s >= %(doubledBytes)d
          |||,
          config.doubledFor,
        ) { keep_firing_for: config.doubledKeepFiringFor },
        warning(
          'EtcdResourceDominates',
          'Live data comes near the quota of etcd, and one resource is much of it.',
          what + ' in ' + subject + ' hold {{ $value | humanize1024 }}B'
          + ofResource('max by (resource) (ballast_etcd_keyspace_keys{%s})', ' in ' + number + ' objects')
          + ofResource('resource:ballast_etcd_keyspace_live_bytes:share{%s}', ': ' + percent + ' of all live bytes')
          + ofResource('resource:ballast_etcd_keyspace_writes:share{%s}', ' and ' + percent + ' of the writes')
          + promql.lookUp(
            config,
            'etcd:ballast_etcd_keyspace_live_bytes:quota_ratio{%s}',
            '. Live data, which no compaction and no defragmentation returns, is ' + percent + ' of the quota',
          )
          + '. {{ if match "' + builtIn + '" $labels.group }}Give them an etcd of their own, with --etcd-servers-overrides='
          + '{{ $labels.group }}/{{ $labels.resource }}#https://HOST:2379 on every apiserver; what is there stays behind until '
          + 'it is deleted.{{ if eq $labels.resource "events" }} --event-ttl (1h unless set) makes them fewer.{{ end }}'
          + '{{ else }}A custom resource cannot have an etcd of its own: look at who makes these objects and what removes '
          + 'them.{{ end }}',
          |||
            %(live)s >= %(dominatesBytes)d
            and on (%(resource)s)
            (
              resource:ballast_etcd_keyspace_live_bytes:share >= %(dominatesRatio)g
              or
              resource:ballast_etcd_keyspace_writes:share >= %(dominatesRatio)g
            )
            and on (%(etcd)s)
            etcd:ballast_etcd_keyspace_live_bytes:quota_ratio >= %(dominatesLiveRatio)g
          |||,
          config.dominatesFor,
        ),
        warning(
          'EtcdObjectNearRequestLimit',
          'An object in etcd is nearly too large to be written again.',
          'The largest of ' + what + ' in ' + subject + ' takes {{ $value | humanize1024 }}B; etcd refuses requests above '
          + '%gMiB (--max-request-bytes), and then it can no longer be changed.' % (config.requestLimitBytes / 1048576)
          + ofResource(
            'topk(1, max by (key) (ballast_etcd_keyspace_object_bytes{%s}))',
            ' It is {{ . | first | label "key" }}.',
          )
          + ' Divide it, or find what makes it grow.',
          |||
            max by (%(resource)s) (ballast_etcd_keyspace_largest_bytes{%(exporter)s}) >= %(nearLimit)d
          ||| % names { nearLimit: config.objectNearLimitRatio * config.requestLimitBytes },
          config.objectNearLimitFor,
        ),
        warning(
          'EtcdForeignKeys',
          'Somebody other than the apiserver stores much in its etcd.',
          '{{ $value | humanize1024 }}B in ' + subject
          + promql.lookUp(
            config,
            'etcd:ballast_etcd_keyspace_foreign_bytes:sum{%s} / on (' + names.etcd + ') etcd:ballast_etcd_keyspace_live_bytes:sum',
            ', ' + percent + ' of its live bytes,',
          )
          + ' belong to nobody\'s apiserver:'
          + promql.lookUp(
            config,
            'topk(3, max by (owner) (ballast_etcd_keyspace_foreign_bytes{%s}))',
            '{{ range $i, $each := . }}{{ if $i }},{{ end }} {{ $each.Labels.owner }} '
            + '({{ $each.Value | humanize1024 }}B){{ end }}',
          )
          + '. Whoever writes there shares this quota and can use it up. If they are an apiserver\'s, add its --etcd-prefix to '
          + 'the exporter\'s prefixes.',
          |||
            etcd:ballast_etcd_keyspace_foreign_bytes:sum >= %(foreignBytes)d
            and
            etcd:ballast_etcd_keyspace_foreign_bytes:sum >= %(foreignRatio)g * etcd:ballast_etcd_keyspace_live_bytes:sum
          |||,
          config.foreignFor,
        ),
      ]),
    ],
  },
}
