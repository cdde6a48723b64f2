// Small pieces of PromQL and of Prometheus' templates that rules and dashboards share.
{
  // Seconds as a Prometheus duration in its largest whole unit: 900 -> 15m, 90 -> 90s.
  duration(seconds)::
    if seconds % 3600 == 0 then '%dh' % (seconds / 3600)
    else if seconds % 60 == 0 then '%dm' % (seconds / 60)
    else '%ds' % seconds,

  // The labels that identify one etcd, and one of its members.
  etcdLabels(config):: '%s, etcd_cluster' % config.clusterLabel,
  memberLabels(config):: '%s, etcd_cluster, member' % config.clusterLabel,
  // A Kubernetes resource of one etcd.
  resourceLabels(config):: '%s, etcd_cluster, group, resource' % config.clusterLabel,

  // Adds the label `what`: a resource as people call it, applications.argoproj.io or pods.
  named(expr):: 'label_replace(label_join(%s, "what", ".", "resource", "group"), "what", "$1", "what", "(.*)[.]")' % expr,

  // How a sentence names the etcd an alert is about. Series without the cluster label give no empty words.
  subject(config)::
    'etcd "{{ $labels.etcd_cluster }}"{{ with $labels.%(label)s }} of cluster "{{ . }}"{{ end }}'
    % { label: config.clusterLabel },

  // A template for the value or members behind an aggregated alert. The alert itself must not carry the worst member's
  // name: whenever another member became the worst, a new alert would start and the old one would end.
  // body sees the result of expr, in which %s stands for the matchers of this alert's etcd, or of all labels in `by`.
  lookUp(config, expr, body, by=['etcd_cluster'])::
    local labels = [config.clusterLabel] + by;
    '{{ with printf `%(expr)s` %(values)s | query }}%(body)s{{ end }}'
    % {
      expr: std.strReplace(expr, '%s', std.join(',', [label + '=%q' for label in labels])),
      values: std.join(' ', std.repeat(['$labels.' + label for label in labels], std.length(std.findSubstr('%s', expr)))),
      body: body,
    },

  // What an etcd is full of, for alerts on its size; no words where there is no census.
  cause(config)::
    $.lookUp(
      config,
      'topk(1, resource:ballast_etcd_keyspace_live_bytes:share{resource!="(other)",%s})',
      ' Of its live data, {{ . | first | value | humanizePercentage }} is {{ . | first | label "resource" }}'
      + '{{ with . | first | label "group" }}.{{ . }}{{ end }}.',
    ),

  // A rule group; null leaves the interval to Prometheus.
  group(name, interval, rules):: { name: name, rules: rules, [if interval != null then 'interval']: interval },
}
