// Gives every alert its runbook_url, in one place. Action alerts too: people meet them in Alertmanager, and kube-prometheus'
// own helper makes up a link to elsewhere for a rule that has none.
{
  local link(rule) =
    if std.objectHas(rule, 'alert') then
      rule { annotations+: { runbook_url: '%s/%s.md' % [$._config.runbookURLPrefix, rule.alert] } }
    else rule,

  prometheusAlerts+:: {
    groups: [group { rules: std.map(link, group.rules) } for group in super.groups],
  },
}
