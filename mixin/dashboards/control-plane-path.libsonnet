// Control-plane path: which apiserver's way to etcd is sick, whose fault that is, and what to do.
// A title says what is shown; a description says how to read it, what is good, and what to do when it is not.
local d = import '../lib/dashboard.libsonnet';
local stall = import '../lib/stall.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
  },

  local config = $._config,
  local apiservers = stall.labels(config),
  local members = '%s, member' % config.clusterLabel,
  local cluster = '%s=~"$cluster"' % config.clusterLabel,
  local chosen = '%s, apiserver=~"$apiserver"' % cluster,
  local apiserver = '{{%s}} {{apiserver}}' % config.clusterLabel,
  local of(name, more='') =
    'ballast_grpc_stall_%s{%s, %s%s}' % [name, config.ballastExporterSelector, chosen, more],
  local perApiserver(name, more='', by=apiservers, how='max') = '%s by (%s) (%s)' % [how, by, of(name, more)],
  local perMember(probe) =
    'min by (%s) (ballast_grpc_stall_member_probe_duration_seconds{%s, %s, probe="%s"})'
    % [members, config.ballastExporterSelector, cluster, probe],
  // Of several exporters each reads the same count: it counts once.
  local rate(name, window, by, more='') =
    'max by (%s, %s) (rate(%s[%s]))' % [apiservers, by, of(name, more), window],
  local code = 'apiserver:ballast_grpc_stall_verdict:code{%s}' % chosen,
  local never = 1e9,
  local left = config.nodeGraceSeconds - config.nodeRenewSeconds,
  local sinceWrite = 'time() - %s' % perApiserver('canary_last_success_timestamp_seconds'),

  // What each verdict is called, whose fault it is, and what to do first.
  local words = {
    ok: ['well', 'green', 'nobody\'s', 'nothing'],
    unknown: ['cannot tell', '#808080', 'not known', 'ask: ballastctl apiserver doctor'],
    overloaded: ['overloaded', 'orange', 'who floods it', 'find who floods it'],
    etcd_slow: ['etcd is slow', 'orange', 'etcd', 'look at etcd\'s disks'],
    etcd_member_bad: ['etcd member bad', 'orange', 'an etcd member', 'bring that member back'],
    unreachable: ['UNREACHABLE', 'red', 'its host or network', 'look at its host'],
    down: ['DOWN', 'red', 'the apiserver', 'look at its log'],
    watch_stale: ['WATCHES STALE', 'red', 'the apiserver', 'drain, then restart it'],
    channel_stalled: ['CHANNEL STALLED', 'red', 'its connections to etcd', 'cut its connections to etcd'],
    etcd_down: ['ETCD DOWN', 'dark-red', 'etcd', 'bring etcd members back'],
  },
  local colour(verdict) = words[verdict][1],
  local mapped(column) = [
    d.word(stall.verdicts[verdict], words[verdict][column], colour(verdict))
    for verdict in std.objectFields(stall.verdicts)
  ],
  // The one that needs somebody most; all of them where none does.
  local worst = |||
    topk(1, %(code)s > 0)
    or on ()
    label_replace(0 * max(%(code)s), "apiserver", "all apiservers", "", "")
  ||| % { code: code },
  local grey = d.thresholds('green', []),

  local now = [
    d.big(
      'Each apiserver',
      'The verdict on its way to etcd: what is wrong, if anything. Red needs somebody now; grey means that too little is measured to '
      + 'tell. It takes two failures in a row, so a verdict comes within seconds and not at once. docs/grpc-stall.md has the table.',
      [d.instant('sort_desc(%s)' % code, apiserver)],
      'none',
      grey,
      mapped(0),
    ),
    d.big(
      'Whose fault',
      'Of the apiserver that needs somebody most, the first on the left. "Its connections to etcd": the apiserver and etcd are well, and what is between them '
      + 'does not pass. "etcd": leave the apiservers alone.',
      [d.instant(worst, '')],
      'none',
      grey,
      mapped(2),
    ),
    d.big(
      'What to do',
      'The first step for the same apiserver; its alert\'s page has the others. First look whether Ballast is already doing it, or waits for your approval: '
      + 'ballastctl runs.',
      [d.instant(worst, '')],
      'none',
      grey,
      mapped(3),
    ),
    d.big(
      'Nodes go NotReady in',
      'When the first nodes are lost whose kubelet is connected to this apiserver, straight or through a load balancer: %g s after the '
      % left + 'last write through it, which is the grace period less one renewal. Until then, cut its connections. "No danger": writes '
      + 'pass through every apiserver.',
      [
        d.instant(
          'bottomk(1, clamp_min(%d - (%s), 0) <= %d)\nor on ()\nlabel_replace(0 * max(%s) + %d, "apiserver", "all apiservers", "", "")'
          % [left, sinceWrite, left - config.nodeGraceToldSeconds, sinceWrite, never],
          apiserver,
        ),
      ],
      's',
      d.thresholds('red', [[never, 'green']]),
      [d.word(0, 'NOW', 'dark-red'), d.word(never, 'no danger', 'green')],
    ) { fieldConfig+: { defaults+: { decimals: 0 } } },
  ],

  local since = [
    d.states(
      'Verdicts',
      'Since when. One apiserver red beside green ones: its own channel or host. All at once: what they share, which is etcd or the '
      + 'network. Colours that change back and forth: look at the probes below.',
      [d.target(code, apiserver)],
      [[stall.verdicts[verdict], words[verdict][0], colour(verdict)] for verdict in std.objectFields(stall.verdicts)],
    ),
    d.states(
      'Stalled channels, by resource',
      'Each resource has a channel of its own. All of them: the whole apiserver hangs. A few: the rest works, /readyz may be green, and '
      + 'clients of these resources hang. "health" is the apiserver\'s own check.',
      [d.target(perApiserver('resource_stalled', by=apiservers + ', resource'), apiserver + ' {{resource}}')],
      [[1, 'stalled', 'red']],
    ) { fieldConfig+: { defaults+: { noValue: 'No channel is stalled' } } },
    d.lines(
      'Since the last write',
      'A write through each apiserver is tried every two seconds, so the line stays low: those two, and the age of a scrape. One that '
      + 'climbs is an apiserver through which nothing can be written. At the dashed line the first nodes go NotReady.',
      [
        d.target(sinceWrite, apiserver),
        d.target('vector(%d)' % left, 'nodes go NotReady'),
      ],
      's',
    ) { fieldConfig+: { overrides: [d.dashed('nodes go NotReady', 'red')] } },
  ],

  local used = perApiserver('member_used', by=apiservers + ', member'),
  local linearizable = perMember('linearizable'),
  local matrix = [
    d.states(
      'Which apiserver asks which etcd member, and what comes of it',
      'Green: asked directly, the member answers, and requests pass. "Member answers, channel stalled": the fault is between them. "No '
      + 'answer": the member\'s, for every apiserver that asks it. A member that a stalled apiserver shares with a healthy one proves '
      + 'that etcd is well.',
      [
        d.target(
          |||
            3 * %(used)s and on (%(apiservers)s) (%(code)s == %(stalled)d)
            or
            0 * %(used)s unless on (%(members)s) %(answers)s
            or
            1 * %(used)s and on (%(members)s) (%(answers)s > 0.5)
            or
            2 * %(used)s
          ||| % {
            used: used,
            apiservers: apiservers,
            members: members,
            code: code,
            stalled: stall.verdicts.channel_stalled,
            answers: linearizable,
          },
          apiserver + ' asks {{member}}',
        ),
      ],
      [
        [0, 'no answer', 'red'],
        [1, 'slow', 'orange'],
        [2, 'answers', 'green'],
        [3, 'member answers, channel stalled', 'purple'],
      ],
    ),
    d.lines(
      'etcd members, asked directly',
      'How long a read of one small key takes, without any apiserver. Linearizable: as the quorum has it, through the leader; '
      + 'serializable: by the member alone. A gap: no answer. Only linearizable ones missing: no quorum. Above 0.5 s etcd is slow.',
      [
        d.target(linearizable, '{{%s}} {{member}} linearizable' % config.clusterLabel),
        d.target(perMember('serializable'), '{{%s}} {{member}} serializable' % config.clusterLabel),
      ],
      's',
    ) + d.byName,
  ],

  local through = [
    d.lines(
      'A write through each apiserver',
      'How long Ballast\'s write of one Lease takes. Milliseconds are healthy; a gap means that it failed. What is slow here and fast at '
      + 'the members above is the apiserver: its processor, flow control or admission webhooks.',
      [d.target(perApiserver('probe_duration_seconds', ', probe="canary"'), apiserver)],
      's',
    ),
    d.lines(
      'Until news arrives at its watches',
      'From the answer to that write until a watch on each apiserver hears of it. A gap: the news is overdue. What grows here becomes '
      + 'stale watches; controllers act on a state that is as old.',
      [d.target(perApiserver('delivery_seconds', how='min'), apiserver)],
      's',
    ),
    d.lines(
      'A read through each apiserver, by resource',
      'Each through the channel of its own resource, past the caches. A gap: it failed. One resource missing beside others: that one '
      + 'channel is stalled.',
      [
        d.target(
          perApiserver(
            'probe_duration_seconds',
            ', probe!~"ping|readiness|canary"',
            apiservers + ', probe',
          ),
          apiserver + ' {{probe}}',
        ),
      ],
      's',
    ) + d.byName,
  ],

  local progress(window) = rate('etcd_requests_total', window, 'resource'),
  local inside = [
    d.lines(
      'Oldest open call to etcd',
      'By the apiserver\'s own count, a lower bound: healthy calls end within milliseconds, so it is 0. A line that climbs second by '
      + 'second is a call that never ends. A stalled apiserver takes 20 s to tell.',
      [d.target(perApiserver('oldest_call_seconds'), apiserver)],
      's',
    ),
    d.lines(
      'Calls to etcd under way',
      'Started and not ended, by method. A handful that comes and goes is healthy. A number that only rises hangs.',
      [d.target(perApiserver('calls_in_flight', by=apiservers + ', method') + ' > 0', apiserver + ' {{method}}')],
      'none',
      empty='None was under way when it was looked at',
    ) + d.byName,
    d.lines(
      'Progress by resource',
      'Requests to etcd that ended without an error, each second, of the resources that had most within a quarter of an hour. One that '
      + 'falls to 0 while others go on: its channel. All of one apiserver: the whole of it. Errors do not count, since an apiserver that '
      + 'fails everything is busy too.',
      [
        d.target(
          '%s\nand on (%s, resource)\ntopk(8, %s)' % [progress('2m'), apiservers, progress('15m')],
          apiserver + ' {{resource}}',
        ),
      ],
      'reqps',
    ) + d.byName,
  ],

  local ended(more='') = 'sum by (%s) (%s)' % [apiservers, rate('calls_ended_total', '2m', 'code', more)],
  local answers = [
    d.lines(
      'Calls to etcd that fail',
      'Share of the calls that ended, by the apiserver\'s own count; cancelled ones are no failure. Calls that hang are not in it. The '
      + 'dashed line is where ApiserverEtcdErrorsHigh begins.',
      [
        // Where none has failed yet there is no such code.
        d.target('(%s or 0 * %s) / %s' % [ended(', code!~"%s"' % config.etcdErrorsExempt), ended(), ended()], apiserver),
        d.target('vector(%g)' % config.etcdErrorsRatio, 'warned of'),
      ],
      'percentunit',
    ) { fieldConfig+: { defaults+: { max: 1 }, overrides: [d.dashed('warned of', 'orange')] } },
    d.lines(
      'Probes that failed, by kind of answer',
      'Within a minute. timeout and error: a sick way to etcd. rejected: flow control. refused: nobody listens. denied: our own rights, '
      + 'which blames nobody. One alone now and then is no news.',
      [
        d.target(
          'max by (%s, probe, answer) (increase(%s[1m])) > 0' % [apiservers, of('probes_total', ', answer!="ok"')],
          apiserver + ' {{probe}} {{answer}}',
        ),
      ],
      'none',
      empty='Every probe was answered',
    ) + d.byName,
  ],

  local trust = [
    d.big(
      'Exporters that look',
      'How many give a verdict on these apiservers. Two are better than one: a fault is named only while no other exporter sees the '
      + 'apiserver work. Unknown: none, and nothing here holds.',
      [d.instant('count(count by (instance) (%s))' % of('verdict'), '')],
      'none',
      d.thresholds('green', []),
    ),
    d.big(
      'Age of these numbers',
      'How long ago the collector grpc_stall last gave its verdicts, where it is longest. Red: everything here is old; look at the '
      + 'exporter first.',
      [
        d.instant(
          'time() - min(max by (%s) (ballast_collector_last_success_timestamp_seconds{%s, collector="grpc_stall", %s}))'
          % [config.clusterLabel, config.ballastExporterSelector, cluster],
          '',
        ),
      ],
      's',
      d.thresholds('green', [[3 * config.scrapeIntervalSeconds, 'orange'], [config.blindStaleSeconds, 'red']]),
    ),
    d.big(
      'Pages of metrics without etcd\'s size',
      'Apiservers whose /metrics does not say how large etcd is: it is left out while etcd does not answer them. Agrees with a stall '
      + 'that is shown above; alone it is no news.',
      [d.instant('sum(1 - %s)' % perApiserver('storage_size_known'), '')],
      'none',
      d.thresholds('green', [[1, 'orange']]),
      [d.word(0, 'none', 'green')],
    ),
  ],

  grafanaDashboards+:: {
    'ballast-control-plane-path.json': d.dashboard(
      'ballast-control-plane-path',
      'Ballast / Control-plane path',
      'Whether each apiserver reaches etcd, and where not, whose fault that is and what to do.',
      config,
      [
        d.variable('cluster', 'Cluster', 'label_values(apiserver:ballast_grpc_stall_verdict:code, %s)' % config.clusterLabel),
        d.variable('apiserver', 'Apiserver', 'label_values(apiserver:ballast_grpc_stall_verdict:code{%s}, apiserver)' % cluster),
      ],
      [
        ['Is the path well', 5, now],
        ['Since when', 7, since],
        ['Is it etcd', 7, matrix],
        ['What passes through', 8, through],
        ['What the apiservers count themselves', 8, inside],
        ['What fails', 7, answers],
        ['Whether these numbers hold', 4, trust],
      ],
    ) {
      // A stall is over, or has cost nodes, within minutes.
      time: { from: 'now-30m', to: 'now' },
      refresh: '10s',
    },
  },
}
