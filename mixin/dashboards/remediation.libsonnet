// Remediation: does the remediator work, what waits for a person, what did it do, and what keeps it from it.
// Every replica tells what the store holds, so those figures are the max over replicas and never their sum.
local d = import '../lib/dashboard.libsonnet';

{
  _config+:: {
    ballastRemediatorSelector: error 'set _config.ballastRemediatorSelector, such as job="ballast-remediator"',
  },

  local config = $._config,
  local chosen = '%s, %s=~"$cluster"' % [config.ballastRemediatorSelector, config.clusterLabel],
  local of(name, more='') = 'ballast_remediator_%s{%s%s}' % [name, chosen, more],
  local shared(name, by=[], more='') = 'max by (%s) (%s)' % [std.join(', ', [config.clusterLabel] + by), of(name, more)],
  // What is not there counts as none, but only while the store can be asked.
  local orNone(expr) = '%s or 0 * max(%s)' % [expr, of('replicas')],
  local rate(name, more='') = 'rate(%s[$__rate_interval])' % of(name, more),
  local good(text) = d.word(1, text, 'green'),
  local bad(text) = d.word(0, text, 'red'),
  local onOff = d.thresholds('red', [[1, 'green']]),
  local offOn = d.thresholds('green', [[1, 'red']]),

  // Nothing came in most intervals, which a quantile calls NaN (>= 0 leaves it out): points, and lines over the gaps.
  local seldom = { fieldConfig+: { defaults+: { custom+: { showPoints: 'auto', spanNulls: true } } } },

  local works = [
    d.big(
      'Store',
      'Whether every replica can read and write the database. Down: it takes no alerts and begins nothing; /readyz says why.',
      [d.instant('min(%s)' % of('store_up'), '')],
      'none',
      onOff,
      [bad('DOWN'), good('up')],
    ),
    d.big(
      'Engine',
      'Whether runs are planned and carried out in every replica. Stands: look at /readyz and at the log.',
      [d.instant('min(%s)' % of('engine_working'), '')],
      'none',
      onOff,
      [bad('STANDS'), good('works')],
    ),
    d.big(
      'Replicas',
      'How many share the store and give a sign of life. With SQLite there is one. Unknown: the store is down.',
      [d.instant('max(%s)' % of('replicas'), '')],
      'none',
      d.thresholds('red', [[1, 'green']]),
    ),
    d.big(
      'Heartbeat',
      'Whether the alert that always fires arrives from every cluster. Missing: no alert of that cluster can be relied upon to arrive.',
      [d.instant('max(%s)' % of('heartbeat_missing'), '')],
      'none',
      offOn,
      [d.word(0, 'arrives', 'green'), d.word(1, 'MISSING', 'red')],
    ),
    d.big(
      'Policies in force',
      'One is right. More than one: replicas judge by different files; finish the roll-out.',
      [d.instant('count(count by (digest) (%s))' % of('policy_info'), '')],
      'none',
      d.thresholds('green', [[2, 'red']]),
    ),
    d.big(
      'Audit',
      'Whether the chain of hashes holds, which is checked all the time. Broken: ballastctl audit verify names the entry.',
      [d.instant('max(%s)' % of('audit_problem'), '')],
      'none',
      offOn,
      [d.word(0, 'holds', 'green'), d.word(1, 'BROKEN', 'red')],
    ),
  ],

  local waits = [
    d.big(
      'Wait for approval',
      'Plans that a person has to approve or reject: ballastctl runs, then ballastctl show RUN.',
      [d.instant(orNone('sum(%s)' % shared('runs', ['runbook'], ', state="awaiting_approval"')), '')],
      'none',
      d.thresholds('green', [[1, 'orange']]),
    ),
    d.big(
      'Expire soon',
      'Of these, so many have less than a third of their time left. Then nothing is done, and the fault goes on.',
      [d.instant('sum(%s)' % shared('approvals_expiring'), '')],
      'none',
      offOn,
    ),
    d.big(
      'Outcome unknown',
      'Runs that could not tell what came of a step. Their target stays locked until a person has looked: ballastctl resolve.',
      [d.instant(orNone('sum(%s)' % shared('runs', ['runbook'], ', state="outcome_unknown"')), '')],
      'none',
      offOn,
    ),
    d.big(
      'Oldest open run',
      'Since it was opened, or began its steps. Hours: ballastctl show RUN says what it waits for.',
      [d.instant(orNone('max(%s)' % of('oldest_open_run_age_seconds')), '')],
      's',
      d.thresholds('green', [[config.runStuckSeconds / 2, 'orange'], [config.runStuckSeconds, 'red']]),
      [d.word(0, 'none', 'green')],
    ),
    d.big(
      'Stops in force',
      'What keeps runs from beginning, by kind: ballastctl stops says who set it, why, and how it is lifted.',
      [d.instant('max by (kind) (%s)' % of('stops'), '{{kind}}')],
      'none',
      d.thresholds('green', [[1, 'orange']]),
    ),
    d.big(
      'Notices given up',
      'Within the last day: their receiver did not take them. Unknown: no receiver is configured.',
      [d.instant('sum(%s)' % shared('notices_given_up'), '')],
      'none',
      offOn,
    ),
  ],

  local did = [
    d.lines(
      'Runs that ended, by outcome',
      'How many ended within each interval. Red: failed, or an unknown outcome; ballastctl runs says on what. Suppressed: a guard, a stop '
      + 'or the policy said no. Only zeros: nothing fired.',
      [
        d.target(
          'sum by (state) (max by (%s, runbook, state) (increase(%s[$__rate_interval])))'
          % [config.clusterLabel, of('runs_ended_total')],
          '{{state}}',
        ),
      ],
      'none',
    ) + d.stacked + {
      fieldConfig+: {
        overrides: [
          d.coloured('succeeded', 'green'),
          d.coloured('failed', 'red'),
          d.coloured('outcome_unknown', 'dark-red'),
          d.coloured('suppressed', 'orange'),
          d.coloured('shadowed', 'blue'),
        ],
      },
    },
    d.lines(
      'Open runs, by state',
      'What it is at. Many queued: they wait for a lock, one run at a time disturbs the control plane. Many received: a flood; look '
      + 'whether the brake is on.',
      [
        d.target(
          'sum by (state) (%s)\nor label_replace(0 * max(%s), "state", "none", "", "")'
          % [shared('runs', ['runbook', 'state'], ', state!="outcome_unknown"'), of('replicas')],
          '{{state}}',
        ),
      ],
      'none',
    ) + d.stacked,
    d.lines(
      'How long runs took',
      'From a run\'s first step to its end; nine of ten took less, as read from buckets. Empty: none ended just then.',
      [
        d.target(
          'histogram_quantile(0.9, sum by (runbook, le) (max by (%s, runbook, le) (%s))) >= 0'
          % [config.clusterLabel, rate('run_duration_seconds_bucket')],
          '{{runbook}}',
        ),
      ],
      's',
      empty='No run ended',
    ) + seldom,
  ],

  local ingest = [
    d.lines(
      'Notifications',
      'From Alertmanager: accepted, which means on disk before it was answered, and refused, by status code. 503 is repeated by '
      + 'Alertmanager; 401, 403 and 400 are not, until the next interval: look at its log.',
      [
        d.target('sum(%s)' % rate('notifications_accepted_total'), 'accepted'),
        d.target('sum by (code) (%s)' % rate('notifications_refused_total'), 'refused {{code}}'),
      ],
      'reqps',
    ),
    d.lines(
      'How long an answer and a write take',
      'Of a hundred notifications, 99 are answered faster; of a hundred writes to the store, 99 are on disk faster. A notification waits '
      + 'for one write, a write for one fsync. Near a second: the disk is in trouble.',
      [
        d.target('histogram_quantile(0.99, sum by (le) (%s)) >= 0' % rate('ingest_duration_seconds_bucket'), 'answer'),
        d.target('histogram_quantile(0.99, sum by (le) (%s)) >= 0' % rate('store_write_duration_seconds_bucket'), 'write'),
      ],
      's',
    ) + seldom,
    d.lines(
      'Not filed yet, and ignored',
      'Accepted notifications that became no run yet: falls to 0 within seconds. Ignored: alerts that no run answers; the log says why.',
      [
        d.target('sum(%s)' % shared('notifications_unfiled'), 'not filed'),
        d.target('sum(increase(%s[$__rate_interval]))' % of('alerts_ignored_total'), 'ignored'),
      ],
      'none',
    ),
  ],

  local stops = [
    d.states(
      'Stops',
      'When something kept runs from beginning. The brake sets itself when too many targets come at once; everything else people set.',
      [d.target('clamp_max(max by (kind) (%s), 1)' % of('stops'), '{{kind}}')],
      [[0, 'off', 'green'], [1, 'on', 'orange']],
    ),
    d.states(
      'Configuration',
      'Whether the policy and the tokens are in force as their files are. Stale: the file has a mistake, and the last good one counts.',
      [
        d.target('1 - max(%s)' % of('policy_problem'), 'policy'),
        d.target('min(%s)' % of('tokens_file_in_force'), 'tokens'),
      ],
      [[0, 'stale', 'red'], [1, 'in force', 'green']],
    ),
  ],

  local told = [
    d.lines(
      'Age of the heartbeat',
      'Since the alert that always fires came last, by cluster. A saw of a minute and a half is healthy; a line that climbs is a cluster '
      + 'that nobody hears of any more.',
      [d.target('min by (watched_cluster) (%s)' % of('heartbeat_age_seconds'), '{{watched_cluster}}')],
      's',
      empty='None has ever come',
    ),
    d.lines(
      'Notices to people',
      'That wait for their receiver, and that were given up within the last day. Above 0 for minutes: the log says what it answers.',
      [
        d.target('sum(%s)' % shared('notices_waiting'), 'waiting'),
        d.target('sum(%s)' % shared('notices_given_up'), 'given up'),
      ],
      'none',
      empty='No receiver is configured',
    ),
    d.lines(
      'Entries of the audit',
      'How many are kept. Falls only where retention drops old ones; any other fall is a loss: ballastctl audit verify.',
      [d.target('sum(%s)' % shared('audit_entries'), 'entries')],
      'none',
      min=null,
    ) { fieldConfig+: { defaults+: { decimals: 0 } } },
  ],

  grafanaDashboards+:: {
    'ballast-remediation.json': d.dashboard(
      'ballast-remediation',
      'Ballast / Remediation',
      'Whether the remediator works, what waits for a person, what it did, and what keeps it from it.',
      config,
      [
        d.variable(
          'cluster',
          'Cluster',
          'label_values(ballast_remediator_store_up{%s}, %s)' % [config.ballastRemediatorSelector, config.clusterLabel],
        ),
      ],
      [
        ['Does it work', 4, works],
        ['What waits for a person', 5, waits],
        ['What it did', 9, did],
        ['What comes in', 8, ingest],
        ['What stops it', 6, stops],
        ['Who is told', 8, told],
      ],
    ),
  },
}
