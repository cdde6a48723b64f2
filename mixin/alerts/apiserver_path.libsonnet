// The apiservers' way to etcd: one page for each verdict of grpc_stall, three on what it measures, and the two action alerts.
local promql = import '../lib/promql.libsonnet';
local stall = import '../lib/stall.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
  },

  local config = $._config,
  local apiserver = stall.labels(config),
  local names = config {
    exporter: config.ballastExporterSelector,
    apiserver: apiserver,
    lastWrite: 'max_over_time(ballast_grpc_stall_canary_last_success_timestamp_seconds',
  },
  local cluster = '{{ with $labels.%(clusterLabel)s }} of cluster "{{ . }}"{{ end }}' % names,
  local subject = 'Apiserver {{ $labels.apiserver }}' + cluster,
  local inCluster(expr, body) = promql.lookUp(config, expr, body, []),
  local ofApiserver(expr, body) = promql.lookUp(config, expr, body, ['apiserver']),
  local listed(label) =
    '{{ range $i, $each := . | sortByLabel "%(label)s" }}{{ if $i }},{{ end }} {{ $each.Labels.%(label)s }}{{ end }}'
    % { label: label },
  local timed = '{{ range $i, $each := . | sortByLabel "member" }}{{ if $i }},{{ end }} {{ $each.Labels.member }} '
                + '({{ $each.Value | humanizeDuration }}){{ end }}',

  // --- What the numbers say, looked up ---

  // The last write is remembered for an hour: an exporter that was restarted meanwhile knows of none.
  local sinceWrite = ofApiserver(
    'time() - max(%(lastWrite)s{%%s}[1h])) >= %(nodeGraceToldSeconds)d' % names,
    ' The last write through it succeeded {{ . | first | value | printf "%.0f" }} s ago.',
  ),
  // Of the Leases that kubelets renew, the eldest were renewed nodeRenewSeconds before the stall.
  local left = config.nodeGraceSeconds - config.nodeRenewSeconds,
  local notReady = ofApiserver(
    '%d - (time() - max(%s{%%s}[1h]))) <= %d' % [left, names.lastWrite, left - config.nodeGraceToldSeconds],
    ' Kubelets whose connection ends at it, straight or through a load balancer, cannot renew their Leases meanwhile: '
    + '{{ $left := . | first | value }}{{ if gt $left 0.0 }}nodes will go NotReady in {{ $left | printf "%.0f" }} s'
    + ofApiserver(
      '%d + max(%s{%%s}[1h]))' % [left, names.lastWrite],
      ' (from {{ ((. | first | value) | toTime).Format "15:04:05" }} UTC on)',
    )
    + '{{ else }}their nodes go NotReady now{{ end }} because of this.',
  ),
  local resources = ofApiserver('count by (resource) (ballast_grpc_stall_resource_stalled{%s})', ' for' + listed('resource')),
  local membersAnswer = ofApiserver(
    'min by (member) (ballast_grpc_stall_member_probe_duration_seconds{probe="linearizable"} and on (%s, member) '
    % config.clusterLabel + 'ballast_grpc_stall_member_used{%s})',
    ' (asked directly:' + timed + ')',
  ),
  local membersSilent = inCluster(
    'count by (%(clusterLabel)s, member) (ballast_grpc_stall_member_used{%%s}) unless on (%(clusterLabel)s, member) ' % names
    + 'ballast_grpc_stall_member_probe_duration_seconds{probe="linearizable"}',
    ' No answer to a linearizable read from:' + listed('member') + '.',
  ),
  local membersSlowest = inCluster(
    'topk(3, max by (member) (ballast_grpc_stall_member_probe_duration_seconds{probe="linearizable",%s}))',
    ' A linearizable read takes:' + timed + '.',
  ),
  local concerned(verdict) = inCluster(
    'count by (apiserver) (ballast_grpc_stall_verdict{verdict="%s",%%s} == 1)' % verdict,
    ' Apiservers that suffer:' + listed('apiserver') + '.',
  ),
  local severalStalled = inCluster(
    'count(count by (apiserver) (ballast_grpc_stall_verdict{verdict="channel_stalled",%s} == 1)) > 1',
    ' {{ . | first | value }} apiservers of this cluster are stalled at once: look at what they share, mostly the network to '
    + 'etcd, before anything is cut.',
  ),
  local openCall = ofApiserver(
    'max(ballast_grpc_stall_oldest_call_seconds{%s}) > 1',
    ' Its oldest open call to etcd is {{ . | first | value | humanizeDuration }} old, at least.',
  ),
  local failingCodes = ofApiserver(
    'topk(3, max by (code) (rate(ballast_grpc_stall_calls_ended_total{code!~"%s",%%s}[2m])) > 0)' % config.etcdErrorsExempt,
    ' Most often: {{ range $i, $each := . }}{{ if $i }}, {{ end }}{{ $each.Labels.code }} ({{ $each.Value | printf "%.2g" }}/s){{ end }}.',
  ),

  // --- The alerts ---

  local alert(name, severity, expr, summary, description, wait=null, keep=config.pathKeepFiringFor, labels={}) = {
    alert: name,
    expr: expr + '\n',
    [if wait != null then 'for']: wait,
    [if keep != null then 'keep_firing_for']: keep,
    labels: { severity: severity } + labels,
    annotations: { summary: summary, description: description },
  },
  local verdict(name, severity, verdict, summary, description, wait=null) =
    alert(name, severity, stall.agreed(config, verdict), summary, description, wait),
  // What lies with etcd concerns all who use it: one alert, whose value is how many apiservers suffer.
  local ofEtcd(name, severity, verdict, summary, description, wait=null) =
    alert(
      name,
      severity,
      'count by (%s) (\n%s\n) > 0' % [config.clusterLabel, stall.agreed(config, verdict)],
      summary,
      description,
      wait,
    ),

  local verdicts = [
    verdict(
      'ApiserverChannelStalled',
      'critical',
      'channel_stalled',
      'An apiserver hangs on its channel to etcd.',
      subject + ' answers pings, and etcd is well' + membersAnswer + ', but the channel between them is stalled' + resources
      + ': requests that need it hang or fail, and it does not recover by itself. Its /metrics and cached lists may look healthy.'
      + sinceWrite + notReady + severalStalled
      + ' First look whether Ballast already cuts these connections (ballastctl runs); if it does not, cut them: a restart by '
      + 'SIGTERM never ends.',
    ),
    verdict(
      'ApiserverWatchStale',
      'critical',
      'watch_stale',
      'The watches of an apiserver get no news.',
      subject + ' reads and writes, but what is written does not reach its watches any more: controllers, schedulers and kubelets '
      + 'that watch through it act on an old state, without an error. Take it out of the load balancer, then restart it while '
      + 'another apiserver is well.',
    ),
    verdict(
      'ApiserverUnreachable',
      'critical',
      'unreachable',
      'An apiserver answers nothing.',
      subject + ' does not answer even a ping: its process hangs, its host is gone or the way to it is cut. Clients that are '
      + 'connected to it wait until they time out.' + sinceWrite + notReady
      + ' Look at its host first, then at its process; take it out of the load balancer meanwhile.',
    ),
    verdict(
      'ApiserverDown',
      'critical',
      'down',
      'An apiserver is not running.',
      'Nobody listens at the address of apiserver {{ $labels.apiserver }}' + cluster + ': the process is gone, or has not begun to '
      + 'listen. Its clients go to the others if the load balancer looks at /readyz.' + sinceWrite
      + ' Unless somebody is restarting it, look at its log and at the kubelet of its host.',
      config.apiserverDownFor,
    ),
    verdict(
      'ApiserverOverloaded',
      'warning',
      'overloaded',
      'Flow control of an apiserver turns Ballast\'s probes away.',
      subject + ' answers 429 to probes that ask for next to nothing, so it takes no more work of their priority level.' + openCall
      + ' Find who floods it: ballastctl apiserver top. Do not restart it: all its clients would come back at once.',
      config.overloadedFor,
    ),
    ofEtcd(
      'EtcdMemberBad',
      'warning',
      'etcd_member_bad',
      'An etcd member that apiservers use fails or defragments.',
      'Requests of {{ $value }} apiserver{{ if ne $value 1.0 }}s{{ end }}' + cluster + ' fail because a member of etcd fails or '
      + 'defragments.' + membersSilent + concerned('etcd_member_bad')
      + ' The apiservers are well: leave them alone. If nobody defragments it, look at that member\'s disk, process and network, '
      + 'and bring it back before anything else is touched.',
    ),
    ofEtcd(
      'EtcdDown',
      'critical',
      'etcd_down',
      'etcd has no quorum: the cluster can neither be read nor changed.',
      'No member of etcd' + cluster + ' answers a linearizable read, and no apiserver can write.' + membersSilent
      + ' Leave the apiservers alone: they recover when etcd does. Bring members back, one after the other, until most of them '
      + 'run; restore none from a backup while a majority\'s disks are good.',
    ),
    ofEtcd(
      'EtcdSlow',
      'warning',
      'etcd_slow',
      'etcd answers slowly.',
      'etcd' + cluster + ' is slow when it is asked directly, so {{ $value }} apiserver{{ if ne $value 1.0 }}s are{{ else }} is{{ end }} '
      + 'slow with it.' + membersSlowest + concerned('etcd_slow')
      + ' Look at the members\' disks (fsync) and processors, and at who writes or lists much; nothing is gained by a restart of '
      + 'an apiserver.',
      config.etcdSlowFor,
    ),
    verdict(
      'ApiserverPathUnknown',
      'warning',
      'unknown',
      'Ballast cannot tell whether an apiserver\'s way to etcd works.',
      'Not enough is measured of apiserver {{ $labels.apiserver }}' + cluster + ' for a verdict: a stall of it would not be told. The '
      + 'exporter\'s start page and ballastctl apiserver doctor say what is missing; mostly rights, a certificate, or the way from the '
      + 'exporter to etcd.',
      config.pathUnknownFor,
    ),
  ],

  local measured = [
    alert(
      'ApiserverCanaryAbsent',
      'warning',
      // Of an exporter that was just started there is no write yet, whatever the reason: that is told as -1.
      |||
        time() - max by (%(apiserver)s) (%(lastWrite)s{%(exporter)s}[1h])) > %(canaryAbsentSeconds)d
        and on (%(apiserver)s)
        max by (%(apiserver)s) (ballast_grpc_stall_verdict{%(exporter)s})
        or
        -1 * (
          max by (%(apiserver)s) (ballast_grpc_stall_verdict{%(exporter)s})
          unless on (%(apiserver)s)
          max by (%(apiserver)s) (%(lastWrite)s{%(exporter)s}[1h]))
        )
      ||| % names,
      'Ballast cannot write through an apiserver.',
      'Ballast\'s test write through apiserver {{ $labels.apiserver }}' + cluster + ' {{ if ge $value 0.0 }}last succeeded '
      + '{{ $value | humanizeDuration }} ago{{ else }}has never succeeded since the exporter was started{{ end }}, and no verdict '
      + 'says why. A stall of its channel for Leases would go unnoticed. Mostly the right to write its Lease is missing, or an '
      + 'admission webhook refuses it: the exporter\'s start page gives the error.',
      config.canaryAbsentFor,
      keep=null,
    ),
    alert(
      'ApiserverWatchDelayHigh',
      'warning',
      |||
        min by (%(apiserver)s) (ballast_grpc_stall_delivery_seconds{%(exporter)s}) > %(watchDelaySeconds)g
      ||| % names,
      'News reaches the watches of an apiserver late.',
      'What is written reaches watches at apiserver {{ $labels.apiserver }}' + cluster + ' {{ $value | humanizeDuration }} later: '
      + 'controllers and kubelets act on a state of then. Mostly it is short of processor, or sends one change to very many '
      + 'watches; when the delay grows on, its watches will be stale.',
      config.watchDelayFor,
      keep=null,
    ),
    alert(
      'ApiserverEtcdErrorsHigh',
      'warning',
      |||
        sum by (%(apiserver)s) (max by (%(apiserver)s, code) (rate(ballast_grpc_stall_calls_ended_total{%(exporter)s, code!~"%(etcdErrorsExempt)s"}[2m])))
        /
        sum by (%(apiserver)s) (max by (%(apiserver)s, code) (rate(ballast_grpc_stall_calls_ended_total{%(exporter)s}[2m])))
        > %(etcdErrorsRatio)g
        and
        sum by (%(apiserver)s) (max by (%(apiserver)s, code) (rate(ballast_grpc_stall_calls_ended_total{%(exporter)s, code!~"%(etcdErrorsExempt)s"}[2m])))
        > %(etcdErrorsPerSecond)g
      ||| % names,
      'Calls of an apiserver to etcd fail.',
      '{{ $value | humanizePercentage }} of the calls of apiserver {{ $labels.apiserver }}' + cluster + ' to etcd end with an error.'
      + failingCodes + ' A write that failed may have been done all the same. Unavailable or Internal on one apiserver alone: its '
      + 'connections; on all: etcd.',
      config.etcdErrorsFor,
      keep=null,
    ),
  ],

  local action(name, runbook, summary, description, keep, wait=null) = alert(
    name,
    'none',
    stall.agreed(config, 'channel_stalled'),
    summary,
    description,
    wait,
    keep,
    { ballast_runbook: runbook },
  ),

  prometheusAlerts+:: {
    groups+: [
      promql.group('ballast-apiserver-path', config.pathEvaluationInterval, verdicts + measured),
    ] + if config.actionAlertsEnabled then [
      promql.group('ballast-apiserver-path.actions', config.pathEvaluationInterval, [
        action(
          'ApiserverCutEtcdConnectionsNeeded',
          'apiserver-cut-etcd-connections',
          'Asks the remediator to cut an apiserver\'s connections to etcd.',
          subject + ' is stalled on its channel to etcd. Ballast\'s remediator answers with the runbook '
          + 'apiserver-cut-etcd-connections: on that host it ends exactly the connections of that process to etcd, which it opens '
          + 'again by itself; requests under way through it fail once, and watches go on. Its policy says whether it does so by '
          + 'itself, waits for an approval (the default) or only tells what it would do: see ballastctl runs. People are told by '
          + 'ApiserverChannelStalled.',
          config.cutKeepFiringFor,
        ),
        action(
          'ApiserverRestartNeeded',
          'apiserver-restart',
          'Asks the remediator to restart an apiserver.',
          subject + ' is still stalled on its channel to etcd, after the time that cutting its connections takes. Ballast\'s '
          + 'remediator answers with the runbook apiserver-restart: it kills the process, which is started again and reads all its '
          + 'caches anew, while another apiserver is well. Its policy says whether it does so by itself, waits for an approval (the '
          + 'default) or only tells what it would do: see ballastctl runs. People are told by ApiserverChannelStalled.',
          config.restartKeepFiringFor,
          config.restartNeededFor,
        ),
      ]),
    ] else [],
  },
}
