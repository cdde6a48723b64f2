// etcd space: how full, how soon full, and what can be got back. Top to bottom as one asks it at night.
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
  local recorded(name) = '%s{%s}' % [name, chosen],
  local timeToLimit = recorded('member:ballast_etcd_quota_time_to_limit_seconds:forecast'),
  local growth = recorded('member:ballast_etcd_quota_growth_bytes_per_second:min'),
  local member = '{{etcd_cluster}} {{member}}',

  local now = [
    d.big(
      'Fullest member',
      'Size of the database file against the quota, of the member that is worst off. At 100% etcd refuses every write. '
      + 'Orange: look at the forecast beside it. Red: find what writes, and free space now.',
      [d.instant('max(%s)' % perMember('ballast_etcd_quota_used_ratio'), '')],
      'percentunit',
      d.thresholds('green', [[0.7, 'orange'], [0.9, 'red']]),
      'no quota known',
    ),
    d.big(
      'Time to quota',
      'When the quota is reached if the data keeps growing as it does. "Not growing" is the healthy answer: growth that '
      + 'compaction returns does not count. Red: stop what writes before etcd does.',
      [d.instant('min(%s)' % timeToLimit, '')],
      'dtdurations',
      d.thresholds('red', [[config.predictedCriticalSeconds, 'orange'], [config.predictedWarningSeconds, 'green']]),
      'not growing',
    ),
    d.big(
      'Alarms raised',
      'NOSPACE: writes are refused until space is freed and the alarm disarmed. CORRUPT: a member\'s data differs from the '
      + 'others\'; disarm and defragment nothing, and restore that member.',
      [d.instant('sum(max by (%s, alarm) (ballast_etcd_quota_alarm{%s}))' % [members, measured], '')],
      'none',
      d.thresholds('green', [[1, 'red']]),
    ),
    d.big(
      'Members down',
      'Members that do not answer. One may be missing only because it defragments (see Members below); if not, bring it '
      + 'back before anything else is touched.',
      [d.instant('sum(1 - %s)' % perMember('ballast_etcd_quota_member_up'), '')],
      'none',
      d.thresholds('green', [[1, 'red']]),
    ),
  ],

  local size = [
    d.lines(
      'Size, in use and limit',
      'etcd compares the file\'s size with the limit, not what is in use. Size well above in use: defragment. Both close to '
      + 'the limit: remove data or raise the quota. In use moves like a saw: each drop is a compaction; no drops for ten '
      + 'minutes means that nobody compacts.',
      [
        d.target(perMember('ballast_etcd_quota_db_size_bytes'), member + ' size'),
        d.target(perMember('ballast_etcd_quota_db_in_use_bytes'), member + ' in use'),
        d.target(
          'min by (%s, etcd_cluster) (ballast_etcd_quota_limit_bytes{%s})' % [config.clusterLabel, measured],
          '{{etcd_cluster}} limit',
        ),
      ],
      'bytes',
    ) { fieldConfig+: { overrides: [d.dashed('.* limit', 'red')] } },
    d.lines(
      'Free pages in the file',
      'Free: pages that hold nothing now. Reclaimable: what stays free even at the peak between compactions, and so what a '
      + 'defragmentation would return. Reclaimable above half of the file is worth a quiet hour; little of it, and a '
      + 'defragmentation gains nothing.',
      [
        d.target(perMember('ballast_etcd_quota_db_free_bytes'), member + ' free'),
        d.target(recorded('member:ballast_etcd_quota_reclaimable_bytes:min'), member + ' reclaimable'),
      ],
      'bytes',
    ),
  ],

  local forecast = [
    d.lines(
      'Time to quota',
      'Forecast per member; the lowest line decides. No line: not growing. Burst sees fills that are over within minutes, '
      + 'short needs about three quarters of an hour of growth, long six hours (with the default knobs). Falling steadily: '
      + 'it will happen; flat: growth slows down as the limit comes closer.',
      [d.target('min by (%s, forecast) (%s)' % [members, timeToLimit], member + ' {{forecast}}')],
      'dtdurations',
    ),
    d.lines(
      'Sustained growth',
      'How fast the peak size grows, after what compaction returns. Sustained growth means that live data grows (look for '
      + 'the kind of object that does) or that compaction stands still (look at the apiservers\' logs).',
      [d.target('max by (%s, forecast) (%s)' % [members, growth], member + ' {{forecast}}')],
      'Bps',
    ),
    d.lines(
      'Revisions per second',
      'Every write is one revision; a restart of etcd does not reset it. A jump here just before the size rises says that '
      + 'somebody writes much more than usual: find who, in the apiserver\'s request metrics or the audit log.',
      [
        d.target(
          'max by (%s, etcd_cluster) (rate(ballast_etcd_quota_revision{%s}[$__rate_interval]))' % [config.clusterLabel, measured],
          '{{etcd_cluster}}',
        ),
      ],
      'wps',
    ),
  ],

  local state = [
    d.states(
      'Alarms',
      'Which member raised which alarm, and when. NOSPACE ends by freeing space and disarming; while CORRUPT is red, touch '
      + 'nothing but the restore of that member.',
      [d.target('max by (%s, alarm) (ballast_etcd_quota_alarm{%s})' % [members, measured], member + ' {{alarm}}')],
      [[0, 'off', 'green'], [1, 'raised', 'red']],
    ),
    d.states(
      'Members',
      'Blue: defragmenting, answers nobody, wait. Red: down. Never start a defragmentation while any member is not green.',
      [
        d.target(
          // A member in defragmentation may answer no Status and so look down: let the blue win.
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
      'Leader',
      'Who leads. The leader is defragmented last, after it has handed over. Changes without maintenance: slow disks or a '
      + 'slow network.',
      [d.target(perMember('ballast_etcd_quota_leader'), member)],
      [[0, 'follower', 'text'], [1, 'leader', 'blue']],
    ),
    d.lines(
      'Raft term',
      'Rises by one with each election. A staircase means that the members keep losing each other: settle that before any '
      + 'maintenance. Members on different terms are not one cluster right now.',
      [d.target(perMember('ballast_etcd_quota_raft_term'), member)],
      'none',
      min=null,
    ),
  ],

  grafanaDashboards+:: {
    'ballast-etcd-space.json': d.dashboard(
      'ballast-etcd-space',
      'Ballast / etcd space',
      'How full etcd is, when it will be full, and what can be got back.',
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
        ['Size', 10, size],
        ['Forecast', 9, forecast],
        ['State', 8, state],
      ],
    ),
  },
}
