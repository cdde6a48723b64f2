// What rules cannot carry: who is muted while something worse is known, and how action alerts reach the remediator.
{
  local config = $._config,
  local sameEtcd = [config.clusterLabel, 'etcd_cluster'],
  local sameApiserver = [config.clusterLabel, 'apiserver'],
  local sameCluster = [config.clusterLabel],
  // An inhibited alert reaches no receiver at all, so no rule may ever match an action alert.
  local pagesOnly = 'ballast_runbook=""',

  local oneOf(alerts) = 'alertname=~"%s"' % std.join('|', alerts),
  // The pages that name whose fault it is, on one apiserver.
  local named = ['ApiserverChannelStalled', 'ApiserverWatchStale', 'ApiserverUnreachable', 'ApiserverDown', 'ApiserverOverloaded'],
  local symptoms = ['ApiserverCanaryAbsent', 'ApiserverWatchDelayHigh', 'ApiserverEtcdErrorsHigh', 'ApiserverPathUnknown'],
  // Upstream's about all apiservers together, which one of them drives up alone. They do not say which one.
  // KubeAPIDown says that none is left: one that is stalled does not explain it, and only EtcdDown mutes it.
  local upstreamShares = ['KubeAPIErrorBudgetBurn', 'KubeAPITerminatedRequests', 'KubeClientErrors'],

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
        // Without a quorum nothing works, whichever apiserver is asked.
        {
          source_matchers: ['alertname="EtcdDown"'],
          target_matchers: [oneOf(named + symptoms + ['EtcdMemberBad', 'EtcdSlow'] + upstreamShares + ['KubeAPIDown']), pagesOnly],
          equal: sameCluster,
        },
        // The fault is named: what is measured of the same apiserver is its shadow.
        {
          source_matchers: [oneOf(named)],
          target_matchers: [oneOf(symptoms), pagesOnly],
          equal: sameApiserver,
        },
        // One page outlives the next verdict by pathKeepFiringFor, so that one fault may leave two names for a minute.
        {
          source_matchers: ['alertname="ApiserverChannelStalled"'],
          target_matchers: [oneOf(['ApiserverWatchStale', 'ApiserverOverloaded']), pagesOnly],
          equal: sameApiserver,
        },
        {
          source_matchers: [oneOf(['EtcdMemberBad', 'EtcdSlow'])],
          target_matchers: [oneOf(['ApiserverCanaryAbsent', 'ApiserverWatchDelayHigh', 'ApiserverEtcdErrorsHigh']), pagesOnly],
          equal: sameCluster,
        },
        // One apiserver fails its share of all requests.
        {
          source_matchers: [oneOf(['ApiserverChannelStalled', 'ApiserverUnreachable', 'ApiserverDown'])],
          target_matchers: [oneOf(upstreamShares), pagesOnly],
          equal: sameCluster,
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
            routes: [
              {
                // A stalled apiserver costs nodes within 40 s, and what is in the way there (evidence that was not fresh yet,
                // another run) passes within seconds: look again soon.
                matchers: ['ballast_runbook=~"apiserver-.+"'],
                group_interval: '10s',
                repeat_interval: '1m',
              },
            ],
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
