// etcd space: how full, of what, how soon full, and what can be got back. Top to bottom as one asks it at night.
// A title says what is shown; a description says how to read it, what is good, and what to do when it is not.
local d = import '../lib/dashboard.libsonnet';

{
  _config+:: {
    ballastExporterSelector: error 'set _config.ballastExporterSelector, such as job="ballast-exporter"',
  },

  local config = $._config,
  local chosen = '%s=~"$cluster", etcd_cluster=~"$etcd_cluster"' % config.clusterLabel,
  local measured = config.ballastExporterSelector + ', ' + chosen,
  local members = '%s, etcd_cluster, member' % config.clusterLabel,
  local perMember(metric) = 'max by (%s) (%s{%s})' % [members, metric, measured],
  local recorded(name, more='') = '%s{%s%s}' % [name, chosen, more],
  local timeToLimit = recorded('member:ballast_etcd_quota_time_to_limit_seconds:forecast'),
  local growth = recorded('member:ballast_etcd_quota_growth_bytes_per_second:min'),
  local member = '{{%s}} {{etcd_cluster}} {{member}}' % config.clusterLabel,
  local etcd = '{{%s}} {{etcd_cluster}}' % config.clusterLabel,
  local census = (import 'etcd-space-census.libsonnet')(config, {
    measured: measured,
    recorded: recorded,
    perMember: perMember,
    member: member,
    etcd: etcd,
  }),
  // Stands for "no growth" among forecasts in seconds: 31 years.
  local never = 1e9,

  local now = [
    d.big(
      'Fullest member',
      'Size of the database file against the quota, of the member that is worst off. At 100% etcd refuses every write. '
      + 'Orange: look at the time to quota. Red: find what writes, and free space now. Unknown: the quota is disabled, or '
      + 'nobody answers.',
      [d.instant('topk(1, %s)' % perMember('ballast_etcd_quota_used_ratio'), member)],
      'percentunit',
      d.thresholds('green', [[0.7, 'orange'], [0.9, 'red']]),
    ) { fieldConfig+: { defaults+: { decimals: 0 } } },
    d.big(
      'Time to quota',
      'When the first member reaches the quota if the data keeps growing as it does. "Not growing" is the healthy answer: '
      + 'growth that compaction returns does not count. The sooner of two forecasts: by what is in use, and by live data alone. '
      + 'Red: stop what writes before etcd does. "Reached": a member has raised NOSPACE. Unknown: no quota, so no end.',
      [
        d.instant(
          // Once a member has raised the alarm it is there, whatever a forecast over the last minutes says.
          'topk(1, 0 * max by (%s) (ballast_etcd_quota_alarm{%s, alarm="NOSPACE"} == 1))\nor on ()\nbottomk(1, %s or %s)\nor on ()\n'
          % [members, measured, timeToLimit, census.forecast]
          + 'max(%s) * 0 + %d' % [perMember('ballast_etcd_quota_limit_bytes'), never],
          member,
        ),
      ],
      's',
      d.thresholds('red', [[config.predictedCriticalSeconds, 'orange'], [config.predictedWarningSeconds, 'green']]),
      [d.word(0, 'reached', 'red'), d.word(never, 'not growing', 'green')],
    ),
  ] + census.cause + [
    d.big(
      'Alarms',
      'NOSPACE: writes are refused until space is freed and the alarm disarmed; ballastctl runs shows whether Ballast is on '
      + 'it. CORRUPT: a member\'s data differs from the others\'; disarm and defragment nothing, and restore that member.',
      [d.instant('max by (alarm) (ballast_etcd_quota_alarm{%s})' % measured, '{{alarm}}')],
      'none',
      d.thresholds('green', [[1, 'red']]),
      [d.word(0, 'off', 'green'), d.word(1, 'RAISED', 'red')],
    ),
  ],

  local trust = [
    d.big(
      'Quota',
      'How large a database file may become (--quota-backend-bytes), the smallest of those shown. etcd\'s default is 2 GiB, '
      + 'the most it recommends 8 GiB. Unknown: the quota is disabled, or nobody answers.',
      [d.instant('min(%s)' % perMember('ballast_etcd_quota_limit_bytes'), '')],
      'bytes',
      d.thresholds('blue', []),
    ),
    d.big(
      'Members down',
      'Members that do not answer; one that defragments does not count. Bring them back before anything else is touched: '
      + 'every other step takes one more member away for a while.',
      [d.instant('sum(1 - %s)' % perMember('ballast_etcd_quota_member_up'), '')],
      'none',
      d.thresholds('green', [[1, 'red']]),
      [d.word(0, 'none', 'green')],
    ),
    d.big(
      'Age of these numbers',
      'How long ago ballast-exporter last looked at etcd, where it is longest. Red: everything here is old, look at the '
      + 'exporter first. Unknown: there is no exporter.',
      [
        d.instant(
          'time() - min(max by (%s) (ballast_collector_last_success_timestamp_seconds{%s, collector="etcd_quota", %s=~"$cluster"}))'
          % [config.clusterLabel, config.ballastExporterSelector, config.clusterLabel],
          '',
        ),
      ],
      's',
      d.thresholds('green', [[3 * config.scrapeIntervalSeconds, 'orange'], [config.blindStaleSeconds, 'red']]),
    ),
    census.age,
  ],

  local when = [
    d.lines(
      'Time to quota, member by member',
      'Empty is healthy: nothing grows for long. Red zone: %g hours or less, orange: %g. Falling steadily: it will happen; '
      % [config.predictedCriticalSeconds / 3600, config.predictedWarningSeconds / 3600]
      + 'flat: growth slows down as the quota comes closer. "burst" sees fills that are over within minutes, "short" needs '
      + 'about three quarters of an hour of growth, "long" six hours (with the default knobs); "live data" is the census\', with '
      + 'history as it is. Not shown beyond twice the '
      + 'orange zone.',
      [d.target('min by (%s, forecast) (%s)' % [members, timeToLimit], member + ' {{forecast}}'), d.target(census.forecast, etcd + ' live data')],
      's',
      empty='No growth seen',
    ) + d.zones(
      2 * config.predictedWarningSeconds,
      d.thresholds('red', [[config.predictedCriticalSeconds, 'orange'], [config.predictedWarningSeconds, 'transparent']]),
    ),
    d.lines(
      'Database file against the quota',
      'Bold line: the size of the file, which is what etcd compares with the quota (dashed red). Area: what is in use '
      + 'of it. Line far above area: defragment. Both close to the quota: remove data or raise it. In use moves like a '
      + 'saw: each drop is a compaction; no drops for ten minutes means that nobody compacts.',
      [
        d.target(perMember('ballast_etcd_quota_db_size_bytes'), member + ' size'),
        d.target(perMember('ballast_etcd_quota_db_in_use_bytes'), member + ' in use'),
        d.target(
          'min by (%s, etcd_cluster) (ballast_etcd_quota_limit_bytes{%s})' % [config.clusterLabel, measured],
          etcd + ' quota',
        ),
      ],
      'bytes',
    ) { fieldConfig+: { overrides: [d.bold('.* size'), d.filled('.* in use'), d.dashed('.* quota', 'red')] } },
    d.lines(
      'Growth of what is in use, per hour',
      'Empty is healthy. How fast the peak size grows, after what compaction returns. Growth means that live data grows '
      + '(look for the kind of object that does) or that compaction stands still (look at the apiservers\' logs).',
      [d.target('3600 * max by (%s, forecast) (%s)' % [members, growth], member + ' {{forecast}}')],
      'bytes',
      empty='No growth seen',
    ),
  ],

  local cures = census.cures + [
    d.lines(
      'What a defragmentation would return',
      'Free (line): pages of the file that hold nothing now. Reclaimable (area): what stays free even at the peak between '
      + 'compactions. More than half of the file reclaimable: worth a quiet hour; little of it: a defragmentation gains nothing.',
      [
        d.target(perMember('ballast_etcd_quota_db_free_bytes'), member + ' free'),
        d.target(recorded('member:ballast_etcd_quota_reclaimable_bytes:min'), member + ' reclaimable'),
      ],
      'bytes',
    ) { fieldConfig+: { overrides: [d.filled('.* reclaimable')] } },
  ],

  local state = [
    d.states(
      'Members',
      'Blue: defragmenting, answers nobody, wait. Red: down. Never start a defragmentation while any member is not green.',
      [
        d.target(
          // A member that defragments counts as up: let the blue win.
          '%s\nor\n%s' % [
            '2 * %s > 0' % perMember('ballast_etcd_quota_defragmenting'),
            perMember('ballast_etcd_quota_member_up'),
          ],
          member,
        ),
      ],
      [[0, 'down', 'red'], [1, 'up', 'green'], [2, 'defragmenting', 'blue']],
    ),
    d.states(
      'Alarms',
      'Which member raised which alarm, and when. NOSPACE ends by freeing space and disarming; while CORRUPT is red, touch '
      + 'nothing but the restore of that member.',
      [d.target('max by (%s, alarm) (ballast_etcd_quota_alarm{%s})' % [members, measured], member + ' {{alarm}}')],
      [[0, 'off', 'green'], [1, 'raised', 'red']],
    ),
  ],

  local raft = [
    d.states(
      'Leader',
      'Who leads. The leader is defragmented last, after it has handed over. Changes without maintenance: slow disks or a '
      + 'slow network.',
      [d.target(perMember('ballast_etcd_quota_leader'), member)],
      [[0, 'follower', '#808080'], [1, 'leader', 'blue']],
    ),
    d.lines(
      'Raft term',
      'Rises by one with each election: flat is healthy. A staircase means that the members keep losing each other: settle '
      + 'that before any maintenance. Members on different terms are not one cluster right now.',
      [d.target(perMember('ballast_etcd_quota_raft_term'), member)],
      'none',
      min=null,
    ) { fieldConfig+: { defaults+: { decimals: 0 } } },
  ],

  grafanaDashboards+:: {
    'ballast-etcd-space.json': d.dashboard(
      'ballast-etcd-space',
      'Ballast / etcd space',
      'How full etcd is, of what, when it will be full, and what can be got back.',
      config,
      [
        d.variable(
          'cluster',
          'Cluster',
          'label_values(ballast_etcd_quota_member_up{%s}, %s)' % [config.ballastExporterSelector, config.clusterLabel],
        ),
        d.variable(
          'etcd_cluster',
          'etcd',
          'label_values(ballast_etcd_quota_member_up{%s, %s=~"$cluster"}, etcd_cluster)'
          % [config.ballastExporterSelector, config.clusterLabel],
        ),
      ],
      [
        ['Now', 5, now],
        ['What fills it', 11, census.fills],
        ['How fast it grows', 10, census.grows],
        ['When it is full', 10, when],
        ['What each cure gives back', 9, cures],
        ['Large objects and strangers', 8, census.notable],
        ['State', 8, state],
        ['Whether these numbers hold', 4, trust],
        ['Raft', 7, raft],
      ],
    ),
  },
}
