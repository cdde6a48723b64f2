// Gives every page alert its runbook_url, in one place. An action alert is read by a program and links to nothing.
{
  local link(rule) =
    if std.objectHas(rule, 'alert') && !std.objectHas(rule.labels, 'ballast_runbook') then
      rule { annotations+: { runbook_url: '%s/%s.md' % [$._config.runbookURLPrefix, rule.alert] } }
    else rule,

  prometheusAlerts+:: {
    groups: [group { rules: std.map(link, group.rules) } for group in super.groups],
  },
}
