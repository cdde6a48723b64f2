// Who floods the apiservers, before they refuse those who do no harm.
local promql = import '../lib/promql.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
  },

  local config = $._config,
  local names = config {
    exporter: config.ballastExporterSelector,
    requests: 'resource_verb:ballast_apiserver_requests:rate5m',
    clients: 'client:ballast_apiserver_clients_requests:rate5m',
    watches: 'resource:ballast_apiserver_requests_watches:sum',
    window: promql.duration(config.watchesWindowSeconds),
    gap: promql.duration(config.watchesGapSeconds),
  },
  local cluster = '{{ with $labels.%(clusterLabel)s }} of cluster "{{ . }}"{{ end }}' % names,
  local what = '{{ $labels.resource }}{{ with $labels.group }}.{{ . }}{{ end }}',
  local percent = '{{ . | first | value | humanizePercentage }}',

  // The three clients that ask most; no words where there are no audit events. matchers: beside the cluster's.
  local askers(matchers, by=[]) = promql.lookUp(
    config,
    'topk(3, sum by (client, user_agent) (' + names.clients + '{' + matchers + '%s}))',
    ' Who asks most:{{ range $i, $each := . }}{{ if $i }},{{ end }} {{ $each.Labels.client }} '
    + '({{ $each.Labels.user_agent }}, {{ $each.Value | humanize }}/s){{ end }}.',
    by,
  ),

  local alert(name, summary, description, expr, wait, severity='warning') = {
    alert: name,
    expr: expr % names,
    'for': wait,
    labels: { severity: severity },
    annotations: { summary: summary, description: description },
  },
  local rejected(matcher, wait, severity, consequence) = alert(
    'ApiserverRequestsRejected',
    'The apiserver turns requests away.',
    'Flow control' + cluster + ' rejects {{ $value | humanize }} requests a second of priority level '
    + '{{ $labels.priority_level }} with status 429: ' + consequence + askers(''),
    'priority_level:ballast_apiserver_requests_rejected:rate5m{priority_level%s"%s"} > %s'
    % [matcher, config.rejectedUrgentLevels, config.rejectedPerSecond],
    wait,
    severity,
  ),

  prometheusAlerts+:: {
    groups+: [
      promql.group('ballast-apiserver', config.evaluationInterval, [
        alert(
          'ApiserverConfigMapShareHigh',
          'Most of what the apiservers are asked is ConfigMaps.',
          '{{ $value | humanizePercentage }} of the requests to the apiservers' + cluster + ' are for ConfigMaps'
          + promql.lookUp(
            config,
            names.watches + '{resource="configmaps",group="",%s}',
            ', beside {{ . | first | value | humanize }} open watches on them',
            [],
          )
          + '.' + askers('resource="configmaps",')
          + ' Mostly kubelets that refresh what pods mount: make ConfigMaps that do not change immutable, and see that every '
          + 'kubelet has configMapAndSecretChangeDetectionStrategy: Watch.',
          |||
            resource:ballast_apiserver_requests:share{group="", resource="configmaps"} > %(configMapShareRatio)g
            and on (%(clusterLabel)s)
            sum by (%(clusterLabel)s) (%(requests)s{group="", resource="configmaps"}) > %(shareRequestsPerSecond)g
          |||,
          config.configMapShareFor,
        ),
        alert(
          'ApiserverClientShareHigh',
          'One client makes most of the requests to the apiservers.',
          '{{ $labels.client }} makes {{ $value | humanizePercentage }} of the requests to the apiservers' + cluster + ':'
          + promql.lookUp(
            config,
            'topk(3, sum by (user_agent, verb, resource) (' + names.clients + '{%s}))',
            '{{ range $i, $each := . }}{{ if $i }},{{ end }} {{ $each.Labels.user_agent }} {{ $each.Labels.verb }} '
            + '{{ $each.Labels.resource }} ({{ $each.Value | humanize }}/s){{ end }}',
            ['client'],
          )
          + '. If that is a mistake, scale it down; if not, give it a FlowSchema and a limited priority level of its own.',
          |||
            client:ballast_apiserver_clients_requests:share{client!~"%(clientShareExempt)s"} > %(clientShareRatio)g
            and on (%(clusterLabel)s, client)
            sum by (%(clusterLabel)s, client) (%(clients)s) > %(shareRequestsPerSecond)g
          |||,
          config.clientShareFor,
        ),
        alert(
          'ApiserverListsUnlimited',
          'Somebody reads whole collections from the apiservers, over and over.',
          'A LIST of ' + what + cluster + ' answers {{ $value | humanize1024 }}B in the mean, more than any page'
          + promql.lookUp(
            config,
            'resource:ballast_apiserver_requests_list_bytes:rate5m{%s}',
            ', {{ . | first | value | humanize1024 }}B a second in all',
            ['group', 'resource'],
          )
          + '. An apiserver holds each answer in memory more than once.'
          + '{{ with printf `topk(3, sum by (client, user_agent) (%(clients)s{verb="list",%(clusterLabel)s=%%q,resource=~"%%s([.].*)?"}))` ' % names
          + '$labels.%(clusterLabel)s $labels.resource | query }} They are asked by:' % names
          + '{{ range $i, $each := . }}{{ if $i }},{{ end }} {{ $each.Labels.client }} ({{ $each.Labels.user_agent }}, '
          + '{{ $each.Value | printf "%.2g" }}/s){{ end }}.{{ end }}'
          + ' Have it use an informer, a limit or a selector.',
          |||
            resource:ballast_apiserver_requests_list_size_bytes:mean > %(listMeanBytes)d
            and
            resource:ballast_apiserver_requests_list_bytes:rate5m > %(listBytesPerSecond)d
          |||,
          config.listsFor,
        ),
        rejected(
          '=~',
          config.rejectedUrgentFor,
          'critical',
          'heartbeats or the control plane itself. Nodes that are healthy can go NotReady. Find who fills it and stop that first.',
        ),
        rejected(
          '!~',
          config.rejectedFor,
          'warning',
          'its clients work late or fail. Find who fills it, and limit that one rather than raise the limit.',
        ),
        alert(
          'ApiserverWatchesGrowing',
          'Open watches on a resource grow fast.',
          '{{ $value | humanize }} watches on ' + what + cluster + ' are open, %(watchesGrowthRatio)g times what there were, or ' % names
          + 'more. A watch counts as a request only when it ends, so no share shows this yet; when an apiserver restarts, all of '
          + 'them are asked for anew at once.'
          + ' Look at who began to watch: a new controller without a shared informer, or pods with more ConfigMaps.',
          |||
            %(watches)s >= %(watchesMany)d
            and
            %(watches)s >= %(watchesGrowthRatio)g * max_over_time(%(watches)s[%(window)s] offset %(gap)s)
          |||,
          config.watchesFor,
        ),
        alert(
          'BallastRequestShareHigh',
          'Ballast itself asks too much of the apiservers.',
          '{{ $value | humanizePercentage }} of the requests to the apiservers' + cluster + ' are Ballast\'s own'
          + promql.lookUp(
            config,
            'topk(3, sum by (collector) (rate(ballast_source_requests_total{kind="apiserver",%s}[5m])))',
            ':{{ range $i, $each := . }}{{ if $i }},{{ end }} {{ $each.Labels.collector }} ({{ $each.Value | humanize }}/s){{ end }}',
            [],
          )
          + '. Raise the interval of that collector; its priority level keeps it from harming others meanwhile.',
          |||
            cluster:ballast_apiserver_requests_own:share > %(ownShareRatio)g
            and
            cluster:ballast_apiserver_requests_own:rate5m > %(ownRequestsPerSecond)g
          |||,
          config.ownShareFor,
        ),
        alert(
          'ApiserverAuditEventsDropped',
          'The apiservers lose audit events.',
          'The apiservers' + cluster + ' lose {{ $value | humanize }} audit events a second'
          + promql.lookUp(config, 'cluster:ballast_apiserver_requests_audit_events:rate5m{%s}', ' of {{ . | first | value | humanize }}', [])
          + ' (plugin {{ $labels.plugin }}): who asks them is told from the others alone, and an audit log can lack the same ones. '
          + 'buffered: what waits for the receiver has filled its buffer, because the receiver answers late or the throttle lets '
          + 'too few batches through. webhook: the receiver was not reached, or refused. Any other: the apiservers\' logs say what '
          + 'could not be written.',
          |||
            plugin:ballast_apiserver_requests_audit_lost_events:rate5m > 0
          |||,
          config.auditDroppedFor,
        ),
        alert(
          'BallastAuditEventsShed',
          'Ballast loses audit events.',
          'ballast-exporter' + '{{ with $labels.%(clusterLabel)s }} in cluster "{{ . }}"{{ end }}' % names
          + ' lost {{ $value | humanize }} audit events a second ({{ $labels.reason }}): who asks the apiservers is told from the '
          + 'others alone. overload: give the exporter more processor, or run the collector in a process of its own. credential: '
          + 'renew what the apiservers show. Any other: the exporter\'s log says what it could not read.',
          |||
            sum by (%(clusterLabel)s, reason) (rate(ballast_apiserver_clients_shed_events_total{%(exporter)s}[5m])) > 0
          |||,
          config.auditShedFor,
        ),
      ]),
    ],
  },
}
