// What rules cannot carry: who is muted while something worse is known, and how action alerts reach the remediator.
{
  local config = $._config,
  local sameEtcd = [config.clusterLabel, 'etcd_cluster'],
  // An inhibited alert reaches no receiver at all, so no rule may ever match an action alert.
  local pagesOnly = 'ballast_runbook=""',

  alertmanager+:: {
    inhibitRules: {
      inhibit_rules: [
        // Full now: that it would be full soon, or has free pages, is no news.
        {
          source_matchers: ['alertname="EtcdNoSpace"'],
          target_matchers: ['alertname=~"EtcdQuotaExhaustionPredicted|EtcdFragmentationHigh"', pagesOnly],
          equal: sameEtcd,
        },
        // Full within hours: the ticket about tomorrow waits.
        {
          source_matchers: ['alertname="EtcdQuotaExhaustionPredicted"', 'severity="critical"'],
          target_matchers: ['alertname="EtcdQuotaExhaustionPredicted"', 'severity="warning"', pagesOnly],
          equal: sameEtcd,
        },
      ],
    },

    routeExample: {
      route: {
        receiver: 'default',
        routes: [
          {
            matchers: ['ballast_runbook!=""'],
            receiver: 'ballast-remediator',
            // Each alert its own group: one target per delivery, never truncated, never held back by another's timer.
            group_by: ['...'],
            group_wait: '0s',
            group_interval: '30s',
            // The remediator gives up on a run when what is in its way (somebody's snapshot, a member that restarts) stays
            // for minutes; a repeat makes it look again. It costs one request and notifies nobody. Alertmanager sends it at
            // the next group_interval, so give a multiple of that.
            repeat_interval: '5m',
            continue: true,
          },
          {
            // The dead man's switch: it arrives every minute and a half, and its absence is noticed. With Alertmanager's own
            // intervals it would come once in four hours.
            matchers: ['alertname="Watchdog"'],
            receiver: 'ballast-remediator',
            group_by: ['...'],
            group_wait: '0s',
            group_interval: '30s',
            repeat_interval: '1m',
            continue: true,
          },
        ],
      },
      receivers: [
        { name: 'default' },
        {
          name: 'ballast-remediator',
          webhook_configs: [
            {
              url: config.remediatorURL,
              send_resolved: true,
              http_config: {
                authorization: { type: 'Bearer', credentials_file: config.remediatorTokenFile },
                // A redirected POST arrives as a GET.
                follow_redirects: false,
              },
            },
          ],
        },
      ],
    },
  },
}
