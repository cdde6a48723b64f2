// What the apiservers are asked, and by whom. In a cluster where Ballast does not read the apiservers itself, the same names
// are recorded from the stock scrape; all that is read of it is kept by kube-prometheus. Clients are known from audit events alone.
local promql = import '../lib/promql.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
    apiserverSelector: error 'set _config.apiserverSelector, such as job="apiserver"',
  },

  local config = $._config,
  local names = {
    exporter: config.ballastExporterSelector,
    stock: config.apiserverSelector,
    cluster: config.clusterLabel,
    requests: 'resource_verb:ballast_apiserver_requests:rate5m',
    clients: 'client:ballast_apiserver_clients_requests:rate5m',
  },

  // ours and theirs give one series per `by`. Of a pair of exporters each reads the same apiserver's count: it counts once.
  local either(record, by, ours, theirs, inner='') = {
    record: record,
    expr: |||
      sum by (%(by)s) (max by (%(by)s, apiserver%(inner)s) (%(ours)s))
      or on (%(cluster)s)
      sum by (%(by)s) (%(theirs)s)
    ||| % {
      by: std.join(', ', [config.clusterLabel] + by),
      cluster: config.clusterLabel,
      inner: inner,
      ours: ours % names,
      theirs: theirs % names,
    },
  },

  prometheusRules+:: {
    groups+: [
      promql.group('ballast-apiserver.rules', config.evaluationInterval, [
        either(
          names.requests,
          ['group', 'resource', 'verb'],
          'rate(ballast_apiserver_requests_total{%(exporter)s}[5m])',
          'rate(apiserver_request_total{%(stock)s}[5m])',
          ', code',
        ),
        {
          // A WATCH is in it when it ends.
          record: 'resource:ballast_apiserver_requests:share',
          expr: |||
            sum by (%(cluster)s, group, resource) (%(requests)s)
            / on (%(cluster)s) group_left ()
            (sum by (%(cluster)s) (%(requests)s) > 0)
          ||| % names,
        },
        either(
          'resource:ballast_apiserver_requests_watches:sum',
          ['group', 'resource'],
          'ballast_apiserver_requests_longrunning{%(exporter)s, verb="WATCH"}',
          'apiserver_longrunning_requests{%(stock)s, verb="WATCH"}',
        ),
        either(
          'resource:ballast_apiserver_requests_list_bytes:rate5m',
          ['group', 'resource'],
          'rate(ballast_apiserver_requests_response_bytes_total{%(exporter)s, verb="LIST"}[5m])',
          'rate(apiserver_response_sizes_sum{%(stock)s, verb="LIST"}[5m])',
        ),
        {
          record: 'resource:ballast_apiserver_requests_list_size_bytes:mean',
          expr: |||
            resource:ballast_apiserver_requests_list_bytes:rate5m
            / on (%(cluster)s, group, resource)
            (sum by (%(cluster)s, group, resource) (%(requests)s{verb="LIST"}) > 0)
          ||| % names,
        },
        either(
          'priority_level:ballast_apiserver_requests_rejected:rate5m',
          ['priority_level'],
          'rate(ballast_apiserver_requests_rejected_total{%(exporter)s}[5m])',
          'rate(apiserver_flowcontrol_rejected_requests_total{%(stock)s}[5m])',
          ', reason',
        ),
        either(
          'plugin:ballast_apiserver_requests_audit_lost_events:rate5m',
          ['plugin'],
          'rate(ballast_apiserver_requests_audit_lost_events_total{%(exporter)s}[5m])',
          'rate(apiserver_audit_error_total{%(stock)s}[5m])',
        ),
        either(
          'cluster:ballast_apiserver_requests_audit_events:rate5m',
          [],
          'rate(ballast_apiserver_requests_audit_events_total{%(exporter)s}[5m])',
          'rate(apiserver_audit_event_total{%(stock)s}[5m])',
        ),
        {
          // Each event goes to one exporter, so those of several are added.
          record: names.clients,
          expr: |||
            sum by (%(cluster)s, client, user_agent, resource, verb) (rate(ballast_apiserver_clients_requests_total{%(exporter)s}[5m]))
          ||| % names,
        },
        {
          record: 'client:ballast_apiserver_clients_requests:share',
          expr: |||
            sum by (%(cluster)s, client) (%(clients)s)
            / on (%(cluster)s) group_left ()
            (sum by (%(cluster)s) (rate(ballast_apiserver_clients_events_total{%(exporter)s}[5m])) > 0)
          ||| % names,
        },
        {
          // By user agent, since any account may be Ballast's; or what the exporters count themselves, where that is more: there
          // may be no audit events, and a client that asks little of a busy apiserver has no series of its own.
          record: 'cluster:ballast_apiserver_requests_own:rate5m',
          expr: |||
            max by (%(cluster)s) (
              label_replace(sum by (%(cluster)s) (%(clients)s{user_agent=~"ballast.*"}), "counted", "audit", "", "")
              or
              label_replace(sum by (%(cluster)s) (rate(ballast_source_requests_total{%(exporter)s, kind="apiserver"}[5m])), "counted", "exporter", "", "")
            )
          ||| % names,
        },
        {
          record: 'cluster:ballast_apiserver_requests_own:share',
          expr: |||
            cluster:ballast_apiserver_requests_own:rate5m
            / on (%(cluster)s)
            (sum by (%(cluster)s) (%(requests)s) > 0)
          ||| % names,
        },
      ]),
    ],
  },
}
