// Clients: who asks the apiservers, for what, what share of all that is, and how far these numbers can be trusted.
// A title says what is shown; a description says how to read it, what is good, and what to do when it is not.
local d = import '../lib/dashboard.libsonnet';
local promql = import '../lib/promql.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
  },

  local config = $._config,
  local cluster = config.clusterLabel,
  local chosen = '%s=~"$cluster"' % cluster,
  local requests(more='') = 'client:ballast_apiserver_clients_requests:rate5m{%s%s}' % [chosen, more],
  local share(more='') = 'client:ballast_apiserver_clients_requests:share{%s%s}' % [chosen, more],
  local counted(name) = 'rate(ballast_apiserver_clients_%s_total{%s, %s}[5m])' % [name, config.ballastExporterSelector, chosen],
  local events = 'sum by (%s) (%s)' % [cluster, counted('events')],
  local lostByUs = counted('shed_events'),
  local lostByThem = 'plugin:ballast_apiserver_requests_audit_lost_events:rate5m{%s}' % chosen,
  // What kubelets keep fresh for the pods of their node.
  local mounted(more='') = 'sum by (%s, resource) (%s)' % [
    cluster,
    requests(', client=~"%s", resource=~"configmaps|secrets"%s' % [config.clientShareExempt, more]),
  ],
  local flooded = '%s > on (%s) group_left () (%g * %s) and %s > %g' % [
    mounted(),
    cluster,
    config.configMapShareRatio,
    events,
    mounted(),
    config.shareRequestsPerSecond,
  ],
  local series(labels) = std.join(' ', ['{{%s}}' % each for each in [cluster] + labels]),
  // A code with the labels of what it is about, and nothing where it does not hold.
  local code(number, holds) = '%d + 0 * (%s)' % [number, holds],

  local advice = std.join('\nor on (%s)\n' % cluster, [
    code(3, '%s > %g and on (%s, client) sum by (%s, client) (%s) > %g' % [
      share(', client!~"%s"' % config.clientShareExempt),
      config.clientShareRatio,
      cluster,
      cluster,
      requests(),
      config.shareRequestsPerSecond,
    ]),
    // Nodes ask for each in turns, or watch too many of them.
    code(2, '%s and %s > 0.5 * %s' % [flooded, mounted(', verb="get"'), mounted()]),
    code(1, flooded),
    '0 * ' + events,
  ]),

  local who = [
    d.big(
      'Asks most',
      'The client with the largest share of all requests, by its user name; all nodes are one, or one for each group of them. In a '
      + 'large healthy cluster it is the nodes: whether that is a flood says "What helps".',
      [d.instant('topk(1, %s)' % share(), series(['client']))],
      'percentunit',
      d.thresholds('blue', []),
    ) { fieldConfig+: { defaults+: { decimals: 0 } } },
    d.big(
      'What for',
      'The one question of a client that takes the largest share of all requests. Who asks it, and with which program, is the first '
      + 'line of "Who asks what".',
      [
        d.instant(
          'topk(1, sum by (%s, client, user_agent, verb, resource) (%s) / on (%s) group_left () (%s > 0))'
          % [cluster, requests(), cluster, events],
          series(['verb', 'resource']),
        ),
      ],
      'percentunit',
      d.thresholds('blue', []),
    ) { fieldConfig+: { defaults+: { decimals: 0 } } },
    d.big(
      'What helps',
      'Limit that client: a FlowSchema and a priority level of its own for the one that asks most, or scale it down if it is a mistake. '
      + 'Watch, not Get: nodes ask for each ConfigMap or Secret in turns; set configMapAndSecretChangeDetectionStrategy: Watch on '
      + 'them. Make immutable: nodes watch too many; those that nobody changes are then asked for once. Nothing needed: nobody '
      + 'makes most of the requests, or there are few.',
      [d.instant('topk(1, %s)' % advice, '')],
      'none',
      d.thresholds('red', []),
      [
        d.word(0, 'nothing needed', 'green'),
        d.word(1, 'make immutable', 'orange'),
        d.word(2, 'kubelets: Watch, not Get', 'orange'),
        d.word(3, 'limit that client', 'red'),
      ],
    ) + d.wide,
    d.big(
      'Not told by name',
      'The share of requests whose clients have no series here: there are more of them than the collector tells. Little is good; '
      + 'much, and no name that stands out: many different ones ask, or somebody sends a new user agent each time. Raise the setting '
      + '"top" of apiserver_clients.',
      [d.instant('max(sum by (%s) (%s) / (%s > 0))' % [cluster, counted('remainder_requests'), events], '')],
      'percentunit',
      d.thresholds('green', [[0.2, 'orange'], [0.5, 'red']]),
    ) { fieldConfig+: { defaults+: { decimals: 1 } } },
    d.big(
      'Lost',
      'Audit events that never came to be counted, each second: dropped by an apiserver, or shed here. Anything but 0: the shares are '
      + 'those of the other requests. The last row says where they are lost.',
      [d.instant('sum(%s or %s)' % [lostByUs, lostByThem], '')],
      'reqps',
      d.thresholds('green', [[0.1, 'orange']]),
    ) { fieldConfig+: { defaults+: { decimals: 1 } } },
  ],

  local what = [
    d.bars(
      'Who asks what',
      'As it comes now. LISTs by a controller, over and over: it has no informer. GETs of one thing in a loop: it polls. What you did '
      + 'not expect here is what to stop first.',
      [
        d.instant(
          'topk(10, sum by (%s, client, user_agent, verb, resource) (%s) > 0)' % [cluster, requests()],
          series(['client']) + ' ({{user_agent}}): {{verb}} {{resource}}',
        ),
      ],
      'reqps',
      d.thresholds('blue', []),
      namePlacement='top',
    ),
    d.lines(
      'Requests by client',
      'One band that swells is the flood; all together: the cluster is busier. With the moment at which it began, look for what was '
      + 'rolled out then.',
      [d.target('topk(8, sum by (%s, client) (%s))' % [cluster, requests()], series(['client']))],
      'reqps',
    ) + d.stacked + d.byName,
    d.lines(
      'Share of requests by client',
      'The same as parts of the whole. The dashed line is where ApiserverClientShareHigh begins; it does not judge nodes, which '
      + 'together make most requests of a large cluster.',
      [
        d.target('topk(6, %s)' % share(), series(['client'])),
        d.target('vector(%g)' % config.clientShareRatio, 'warned of'),
      ],
      'percentunit',
    ) + d.byName + { fieldConfig+: { defaults+: { max: 1 }, overrides: [d.dashed('warned of', 'orange')] } },
  ],

  local how = [
    d.lines(
      'Requests by program',
      'By user agent, whoever runs it. One program under many accounts is one mistake, rolled out many times.',
      [d.target('topk(8, sum by (%s, user_agent) (%s))' % [cluster, requests()], series(['user_agent']))],
      'reqps',
    ) + d.byName,
    d.lines(
      'Requests by namespace',
      'Of what is asked, not of who asks; requests for what lies in no namespace are left out. One that stands out: ask its owners.',
      [d.target('topk(8, sum by (%s, namespace) (%s))' % [cluster, std.strReplace(counted('requests'), chosen, chosen + ', namespace!=""')], series(['namespace']))],
      'reqps',
    ) + d.byName,
    d.lines(
      'Refused and failed by client',
      'Answers of 4xx and 5xx. A client that is refused and asks again at once makes a flood of nothing: look at its log. Empty is healthy.',
      [
        d.target(
          'topk(8, sum by (%s, client, code) (%s) > 0)' % [cluster, std.strReplace(counted('requests'), chosen, chosen + ', code=~"4xx|5xx|other"')],
          series(['client', 'code']),
        ),
      ],
      'reqps',
      empty='Nobody is refused',
    ) + d.byName,
  ],

  local trust = [
    d.lines(
      'Counted here, and by the apiservers themselves',
      'Both lines together: every request has told who asked it. Ours far below: events are lost, or the audit policy leaves requests '
      + 'out (ballastctl audit-policy merge says which).',
      [
        d.target(events, '{{%s}} by audit events' % cluster),
        d.target('sum by (%s) (resource_verb:ballast_apiserver_requests:rate5m{%s})' % [cluster, chosen], '{{%s}} by the apiservers' % cluster),
      ],
      'reqps',
    ),
    d.lines(
      'The most that one without a name can ask',
      'As a share of all. Whoever has no series here asks less than that, for certain (the error bound of the last ten minutes). '
      + 'Above the dashed line: raise the setting "top" of apiserver_clients.',
      [
        d.target(
          'max by (%s) (ballast_apiserver_clients_error_bound_requests{%s, %s}) / (600 * %s > 0)'
          % [cluster, config.ballastExporterSelector, chosen, events],
          '{{%s}} at most' % cluster,
        ),
        d.target('vector(0.05)', 'raise top'),
      ],
      'percentunit',
    ) { fieldConfig+: { overrides: [d.dashed('raise top', 'orange')] } },
    d.lines(
      'Lost before they were counted',
      'Events a second. buffered, webhook: dropped by an apiserver, whose receiver is too slow or not there. The others were shed '
      + 'here: overload, give the exporter more processor; credential, renew what the apiservers show.',
      [
        d.target('sum by (%s, reason) (%s) > 0' % [cluster, lostByUs], series(['reason']) + ' (here)'),
        d.target('sum by (%s, plugin) (%s) > 0' % [cluster, lostByThem], series(['plugin']) + ' (apiserver)'),
      ],
      'reqps',
      empty='Nothing is lost',
    ),
  ],

  grafanaDashboards+:: {
    'ballast-clients.json': d.dashboard(
      'ballast-clients',
      'Ballast / Clients',
      'Who asks the apiservers for what, from their audit events.',
      config,
      [d.variable('cluster', 'Cluster', 'label_values(client:ballast_apiserver_clients_requests:share, %s)' % cluster)],
      [
        ['Who floods the apiservers', 4, who],
        ['What they ask', 10, what],
        ['With what, where, and with what result', 8, how],
        ['How far these numbers can be trusted', 8, trust],
      ],
    ),
  },
}
