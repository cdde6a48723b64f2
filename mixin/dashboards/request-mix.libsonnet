// Request mix: what the apiservers are asked, whether one resource is most of it, and who is turned away.
// A title says what is shown; a description says how to read it, what is good, and what to do when it is not.
local d = import '../lib/dashboard.libsonnet';
local promql = import '../lib/promql.libsonnet';

{
  local config = $._config,
  local chosen = '%s=~"$cluster"' % config.clusterLabel,
  local requests = 'resource_verb:ballast_apiserver_requests:rate5m{%s}' % chosen,
  local share = 'resource:ballast_apiserver_requests:share{%s}' % chosen,
  local watches = 'resource:ballast_apiserver_requests_watches:sum{%s}' % chosen,
  local rejected = 'priority_level:ballast_apiserver_requests_rejected:rate5m{%s}' % chosen,
  local lists = 'resource:ballast_apiserver_requests_list_bytes:rate5m{%s}' % chosen,
  local resources = 'sum by (%s, group, resource) (%s)' % [config.clusterLabel, requests],
  local named = promql.named,
  local what = '{{%s}} {{what}}' % config.clusterLabel,

  // What kubelets keep fresh is flooded in one of two ways; any other flood has to be asked who it is. Heartbeats may well be most.
  local flooded(resources) = '%s > %g and sum by (%s, group, resource) (%s) > %g' % [
    'resource:ballast_apiserver_requests:share{%s, %s}' % [chosen, resources],
    config.configMapShareRatio,
    config.clusterLabel,
    requests,
    config.shareRequestsPerSecond,
  ],
  local mounted = 'group="", resource=~"configmaps|secrets"',
  local gets = 'sum by (%s, group, resource) (resource_verb:ballast_apiserver_requests:rate5m{%s, verb="GET"})' % [config.clusterLabel, chosen],
  local code(number, holds) = '%d + 0 * (%s)' % [number, holds],
  local advice = std.join('\nor on (%s)\n' % config.clusterLabel, [
    code(4, '%s > %g' % [rejected, config.rejectedPerSecond]),
    code(3, flooded('resource!~"|configmaps|secrets|leases"')),
    code(2, '%s and %s > 0.5 * %s' % [flooded(mounted), gets, resources]),
    code(1, flooded(mounted)),
    '0 * sum by (%s) (%s)' % [config.clusterLabel, requests],
  ]),

  local floods = [
    d.big(
      'Asked for most',
      'The resource with the largest share of all requests. Orange: half and more is one resource. Find who asks: '
      + 'ballastctl apiserver top. A WATCH counts when it ends; what is open is below.',
      // A request that names no resource is a health check or a scrape.
      [d.instant('topk(1, %s)' % named('resource:ballast_apiserver_requests:share{%s, resource!=""}' % chosen), what)],
      'percentunit',
      d.thresholds('green', [[config.configMapShareRatio, 'orange'], [0.8, 'red']]),
    ) { fieldConfig+: { defaults+: { decimals: 0 } } },
    d.big(
      'What helps',
      'Limit who asks: flow control turns requests of that priority level away; the dashboard Clients says whose. Find who asks: most '
      + 'requests are for that resource; the same. Watch, not Get: kubelets ask for each ConfigMap or Secret in turns; set '
      + 'configMapAndSecretChangeDetectionStrategy: Watch on them. Make immutable: kubelets watch too many; those that nobody '
      + 'changes are then asked for once.',
      [d.instant('topk(1, %s)' % advice, '')],
      'none',
      d.thresholds('red', []),
      [
        d.word(0, 'nothing needed', 'green'),
        d.word(1, 'make immutable', 'orange'),
        d.word(2, 'kubelets: Watch, not Get', 'orange'),
        d.word(3, 'find who asks', 'orange'),
        d.word(4, 'limit who asks', 'red'),
      ],
    ) + d.wide,
    d.big(
      'ConfigMaps',
      'Their share of all requests. Orange is what ApiserverConfigMapShareHigh warns of: make ConfigMaps that do not change '
      + 'immutable, and see that kubelets watch rather than get them.',
      [d.instant('max(resource:ballast_apiserver_requests:share{%s, group="", resource="configmaps"})' % chosen, '')],
      'percentunit',
      d.thresholds('green', [[config.configMapShareRatio, 'orange'], [0.8, 'red']]),
    ) { fieldConfig+: { defaults+: { decimals: 0 } } },
    d.big(
      'Requests',
      'Answered by all apiservers together, each second. No number is good or bad by itself: compare it with last week\'s.',
      [d.instant('sum(%s)' % requests, '')],
      'reqps',
      d.thresholds('blue', []),
    ),
    d.big(
      'Turned away',
      'Requests that flow control rejected, each second. Anything but 0 is harm: the row at the bottom says whose. Find who fills '
      + 'that priority level and limit that one, rather than raise the limit.',
      [d.instant('sum(%s)' % rejected, '')],
      'reqps',
      d.thresholds('green', [[config.rejectedPerSecond, 'red']]),
    ) { fieldConfig+: { defaults+: { decimals: 1 } } },
  ],

  local mix = [
    d.bars(
      'Requests by resource and verb',
      'As they come now. Many GETs of configmaps: kubelets that ask in turns; many WATCHes: nodes times ConfigMaps; many LISTs: a '
      + 'controller without an informer. "no resource": health checks and scrapes.',
      [
        d.instant(
          'topk(10, label_replace(%s, "what", "no resource", "what", "") > 0)' % named(requests),
          what + ' {{verb}}',
        ),
      ],
      'reqps',
      d.thresholds('blue', []),
      namePlacement='top',
    ),
    d.lines(
      'Requests by resource',
      'One band that swells is the flood; all together: the cluster is busier. With the moment at which it began, look for what was '
      + 'rolled out then.',
      [d.target('topk(8, label_replace(%s, "what", "no resource", "what", ""))' % named(resources), what)],
      'reqps',
    ) + d.stacked + d.byName,
    d.lines(
      'Share of requests by resource',
      'The same as parts of the whole. The dashed line is where ApiserverConfigMapShareHigh begins.',
      [
        d.target('topk(6, label_replace(%s, "what", "no resource", "what", ""))' % named(share), what),
        d.target('vector(%g)' % config.configMapShareRatio, 'warned of'),
      ],
      'percentunit',
    ) + d.byName + { fieldConfig+: { defaults+: { max: 1 }, overrides: [d.dashed('warned of', 'orange')] } },
  ],

  local heavy = [
    d.lines(
      'Open watches by resource',
      'A watch is no request until it ends, after 5 to 10 minutes, so this shows first that more is watched. When an apiserver '
      + 'restarts, all of its watches are asked for anew at once. On configmaps: nodes times the ConfigMaps that pods of a node mount.',
      [d.target('topk(8, %s)' % named(watches), what)],
      'short',
    ) + d.byName,
    d.lines(
      'Answers to LISTs by resource',
      'Bytes a second. An apiserver holds each answer in memory more than once. Much here with few requests: whole collections, read '
      + 'without a limit (ApiserverListsUnlimited).',
      [d.target('topk(8, %s)' % named(lists), what)],
      'Bps',
    ) + d.byName,
    d.lines(
      'Rejected by priority level',
      '0 is healthy. node-high: heartbeats, so healthy nodes go NotReady. leader-election and system: the control plane itself. '
      + 'Others: clients that work late or fail.',
      [d.target(rejected, '{{%s}} {{priority_level}}' % config.clusterLabel)],
      'reqps',
    ) + d.byName,
  ],

  grafanaDashboards+:: {
    'ballast-request-mix.json': d.dashboard(
      'ballast-request-mix',
      'Ballast / Request mix',
      'What the apiservers are asked, and whether one resource floods them.',
      config,
      [d.variable('cluster', 'Cluster', 'label_values(resource:ballast_apiserver_requests:share, %s)' % config.clusterLabel)],
      [
        ['Is there a flood', 4, floods],
        ['What is asked', 10, mix],
        ['What it costs, and who is turned away', 9, heavy],
      ],
    ),
  },
}
