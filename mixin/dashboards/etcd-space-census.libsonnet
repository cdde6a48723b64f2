// The part of the dashboard etcd space that says what fills etcd, by the exporter's census. names: see etcd-space.libsonnet.
local d = import '../lib/dashboard.libsonnet';
local promql = import '../lib/promql.libsonnet';

function(config, names)
  local per = '%s, etcd_cluster' % config.clusterLabel;
  local perResource(metric) = 'max by (%s) (%s{%s})' % [promql.resourceLabels(config), metric, names.measured];
  local part(matcher) =
    'sum by (%s) (max by (%s, part) (ballast_etcd_keyspace_space_bytes{%s, %s}))' % [per, per, names.measured, matcher];
  local live = names.recorded('resource:ballast_etcd_keyspace_live_bytes:max');
  local share = names.recorded('resource:ballast_etcd_keyspace_live_bytes:share', ', resource!="(other)"');
  local growth = names.recorded('resource:ballast_etcd_keyspace_growth_bytes_per_second:deriv');
  local quotaRatio = names.recorded('etcd:ballast_etcd_keyspace_live_bytes:quota_ratio');
  local fullIn = names.recorded('etcd:ballast_etcd_keyspace_time_to_limit_seconds:deriv');
  local foreign = 'max by (%s, owner) (ballast_etcd_keyspace_foreign_bytes{%s})' % [per, names.measured];
  local quota = 'min by (%s) (ballast_etcd_quota_limit_bytes{%s})' % [per, names.measured];

  // Where several etcds are shown, the large numbers speak of the one that is worst off; without any quota, of the largest.
  local fullest = 'topk(1, max by (%s) (ballast_etcd_quota_used_ratio{%s}) or on () max by (%s) (ballast_etcd_quota_db_size_bytes{%s}))'
                  % [per, names.measured, per, names.measured];
  local ofFullest(expr) = '%s\nand on (%s)\n%s' % [expr, per, fullest];

  local MiB = 1024 * 1024;
  // The resource first: where there is little room, that is what has to be read.
  local resource = '{{what}}, ' + names.etcd;
  // Growth that nobody needs to know of: an object more or less.
  local hourly = '3600 * %s > %d' % [growth, MiB];

  // Shares of live data say nothing while live data is the least of the file.
  local mostly =
    local file = part('part=~".+"');
    local called(what, expr) = 'label_replace(%s, "what", "%s", "", "")' % [expr, what];
    local loose = part('part=~"free|half_empty"');
    std.join('\nor on ()\n', [
      'topk(1, %s)' % ofFullest(promql.named('(%s and on (%s) %s >= 0.5 * %s)' % [share, per, part('part="live"'), file])),
      ofFullest(called('history', '((%s >= %s) / %s)' % [part('part="history"'), loose, file])),
      ofFullest(called('free pages', '(%s / %s)' % [loose, file])),
    ]);

  // When live data reaches the quota, where it is not far and not by an object or two.
  local forecast = '%s <= %d\nand\nsum by (%s) (%s)' % [fullIn, 2 * config.predictedWarningSeconds, per, hourly];

  // What `ballastctl etcd space` advises, as one number: the first that applies.
  local helps =
    local file = part('part=~".+"');
    local soon = 'min by (%s) (%s) < %d' % [
      per,
      names.recorded('member:ballast_etcd_quota_time_to_limit_seconds:forecast'),
      config.predictedCriticalSeconds,
    ];
    local used = '(%s >= %g * %s or %s)' % [file, config.helpFromUsedRatio, quota, soon];
    local returns(matcher) = '%s >= %g * %s' % [part(matcher), config.worthRatio, file];
    std.join('\nor\n', [
      '0 * ((%s) < %d) + 5' % [forecast, config.predictedCriticalSeconds],
      '0 * (%s >= %g) + 4' % [quotaRatio, config.crowdedRatio],
      '0 * (%s) + 3\nand\n%s' % [returns('part="history"'), used],
      '0 * (%s) + 2\nand\n%s' % [returns('part!="live"'), used],
      '0 * (%s >= %g) + 1' % [quotaRatio, config.helpFromUsedRatio],
      '0 * %s' % file,
    ]);

  {
    cause: [
      d.big(
        'Fills it most',
        'Of the fullest etcd. Where live data is half of the file or more: the resource with the largest share of all live bytes; in a '
        + 'calm cluster these are pods, with about half, and Events or a custom resource up here are what fills etcd. Otherwise '
        + '"history" or "free pages", with their share of the file.',
        [d.instant(mostly, '{{what}}')],
        'percentunit',
        d.thresholds('blue', []),
      ) { fieldConfig+: { defaults+: { decimals: 0 } } },
      d.big(
        'Grows most, per hour',
        'The resource whose live bytes grow fastest, in the fullest etcd, by all censuses of the last hour. Find who makes these '
        + 'objects and what should remove them. Growth below a MiB an hour is not shown.',
        [
          d.instant(
            'topk(1, %s)\nor on ()\nlabel_replace(max(0 * %s), "what", "any resource", "", "")'
            % [promql.named(ofFullest(hourly)), live],
            '{{what}}',
          ),
        ],
        'bytes',
        d.thresholds('blue', []),
        [d.word(0, 'nothing', 'green')],
      ),
      d.big(
        'What helps',
        'For the fullest etcd. "Stop what grows": live data reaches the quota within hours. "Less live data": no compaction and no '
        + 'defragmentation helps; delete or move what is shown on the left, or raise --quota-backend-bytes while there is time. '
        + '"Compact, defragment": superseded revisions fill it; see that somebody compacts. "Defragment": much of the file is free. '
        + '"Nothing needed" is healthy.',
        [d.instant(ofFullest('(%s)' % helps), '')],
        'none',
        d.thresholds('green', [[1, 'orange'], [4, 'red']]),
        [
          d.word(0, 'nothing needed', 'green'),
          d.word(1, 'less live data', 'orange'),
          d.word(2, 'defragment', 'orange'),
          d.word(3, 'compact, defragment', 'orange'),
          d.word(4, 'less live data', 'red'),
          d.word(5, 'stop what grows', 'red'),
        ],
      ),
    ],

    age: d.big(
      'Age of the census',
      'When etcd\'s keys were counted last, where that is longest ago; every ten minutes unless set. What is said of resources is as '
      + 'old as this. Unknown: no census came to its end, the exporter\'s start page says why.',
      [d.instant('time() - min(max by (%s) (ballast_etcd_keyspace_census_timestamp_seconds{%s}))' % [per, names.measured], '')],
      's',
      d.thresholds('green', [[1200, 'orange']]),
    ),

    fills: [
      d.bars(
        'Live data by resource, now',
        'What etcd stores for the objects as they are. The first bar is where to begin. "(other)" are all resources that the exporter '
        + 'does not tell one by one; "not Kubernetes" are keys that belong to nobody\'s apiserver.',
        [
          d.instant(
            'topk(12, %s\nor\n%s)' % [
              promql.named(live),
              'label_replace(%s, "what", "not Kubernetes: $1", "owner", "(.*)")' % foreign,
            ],
            resource,
          ),
        ],
        'bytes',
        d.thresholds('blue', []),
      ),
      d.lines(
        'Live data by resource',
        'The same over time. One band that swells is what fills etcd; all of them together: the cluster grows. A band that falls by '
        + 'itself every hour is one with a time to live, such as Events.',
        [d.target('topk(10, %s)' % promql.named(live), resource)],
        'bytes',
      ) + d.stacked + d.byName,
      d.lines(
        'What the file is made of, against the quota',
        'Of the member that was counted. Live (blue, with what pages add to it): only deleting makes it less. Half empty (light '
        + 'blue) and free (grey): a defragmentation returns them. History (orange): a compaction turns it into free pages. The quota '
        + '(dashed red) is held against all of it.',
        [
          d.target('max by (%s) (ballast_etcd_keyspace_space_bytes{%s, part="%s"})' % [per, names.measured, each[0]], names.etcd + ' ' + each[1])
          for each in [['live', 'live'], ['half_empty', 'half empty'], ['history', 'history'], ['free', 'free']]
        ] + [d.target(quota, names.etcd + ' quota')],
        'bytes',
      ) + d.stacked + {
        fieldConfig+: {
          overrides: [
            d.coloured('.* live', 'blue'),
            d.coloured('.* half empty', 'light-blue'),
            d.coloured('.* history', 'orange'),
            d.coloured('.* free', '#808080'),
            d.dashed('.* quota', 'red'),
          ],
        },
      },
    ],

    grows: [
      d.lines(
        'Growth per hour by resource',
        'Empty is healthy. A line through the last hour\'s censuses, so a burst shows within two of them and a single odd census '
        + 'hardly. Whoever leads here for long decides when etcd is full.',
        [d.target('topk(8, %s)' % promql.named('(%s)' % hourly), resource)],
        'bytes',
        empty='Nothing grows',
      ) + d.byName,
      d.lines(
        'Writes per second by resource',
        'Bands: writes to keys that are still there, between two censuses. Grey: revisions of keys that are gone or were made anew '
        + 'since: Events, above all, or a controller that deletes and creates in a loop. Line: all revisions, by the minute; far above '
        + 'the bands means that it has just begun. Many writes are much history: compaction has to keep up.',
        [
          d.target('topk(8, %s)' % promql.named(perResource('ballast_etcd_keyspace_writes_per_second') + ' > 0'), resource),
          d.target(
            'max by (%s) (ballast_etcd_keyspace_unattributed_writes_per_second{%s})' % [per, names.measured],
            names.etcd + ' unattributed',
          ),
          d.target('max by (%s) (rate(ballast_etcd_quota_revision{%s}[$__rate_interval]))' % [per, names.measured], names.etcd + ' all'),
        ],
        'wps',
      ) + d.stacked + d.byName + {
        fieldConfig+: { overrides: [d.coloured('.* unattributed', '#808080'), d.alone('.* all', 'text')] },
      },
      d.lines(
        'Objects by resource',
        'How many there are. More objects and as many bytes each: something is not removed. As many objects and more bytes: '
        + 'something writes more into each.',
        [d.target('topk(8, %s)' % promql.named(perResource('ballast_etcd_keyspace_keys')), resource)],
        'short',
      ) + d.byName,
    ],

    forecast: forecast,

    cures: [
      d.bars(
        'What each cure gives back',
        'Of the file that was counted. A compaction turns history into free pages and leaves the file as it is; a defragmentation '
        + 'takes free pages off it; both together take off all but live data. Last bar: the same with the largest resource deleted, or '
        + 'moved to an etcd of its own.',
        [
          d.instant(part('part="history"'), 'compaction, inside the file: ' + names.etcd),
          d.instant(part('part="free"'), 'defragmentation: ' + names.etcd),
          d.instant(part('part!="live"'), 'compaction and defragmentation: ' + names.etcd),
          d.instant(
            promql.named('topk by (%s) (1, %s) * on (%s) group_left () %s + on (%s) group_left () %s' % [
              per,
              share,
              per,
              part('part="live"'),
              per,
              part('part!="live"'),
            ]),
            'both, and {{what}} gone: ' + names.etcd,
          ),
        ],
        'bytes',
        d.thresholds('blue', []),
        namePlacement='top',
      ),
      d.bars(
        'How long a defragmentation stalls a member',
        'It answers nobody meanwhile; the leader is done last, after it has handed over. At %g MiB a second, which disks of their own '
        % (config.defragBytesPerSecond / MiB)
        + 'exceed; etcd-free-space measures it. Orange: clients notice. After a compaction it takes as long as live data does.',
        [
          d.instant('%s / %d' % [names.perMember('ballast_etcd_quota_db_in_use_bytes'), config.defragBytesPerSecond], names.member + ' now'),
          d.instant(
            'clamp_min(%s - on (%s) group_left () %s, 0) / %d' % [
              names.perMember('ballast_etcd_quota_db_in_use_bytes'),
              per,
              part('part="history"'),
              config.defragBytesPerSecond,
            ],
            names.member + ' after a compaction',
          ),
        ],
        's',
        d.thresholds('green', [[10, 'orange'], [60, 'red']]),
        namePlacement='top',
      ),
    ],

    notable: [
      d.bars(
        'Largest object by resource',
        'A full bar is what etcd accepts in one request (--max-request-bytes). Orange: nearly too large to be written again; divide '
        + 'it, or find what makes it grow.',
        [d.instant('topk(8, %s)' % promql.named(perResource('ballast_etcd_keyspace_largest_bytes')), resource)],
        'bytes',
        d.thresholds('green', [[config.objectNearLimitRatio * config.requestLimitBytes, 'orange'], [config.requestLimitBytes, 'red']]),
        config.requestLimitBytes,
      ),
      d.bars(
        'Largest objects by name',
        'Only with object_names in the exporter\'s configuration, since names can be secrets. Without it, ballastctl etcd space '
        + '--largest 10 tells them to whoever may read etcd.',
        [
          d.instant(
            'topk(5, max by (%s, key) (ballast_etcd_keyspace_object_bytes{%s}))' % [per, names.measured],
            '{{key}}, ' + names.etcd,
          ),
        ],
        'bytes',
        d.thresholds('green', [[config.objectNearLimitRatio * config.requestLimitBytes, 'orange'], [config.requestLimitBytes, 'red']]),
        config.requestLimitBytes,
        'Names are not told (object_names)',
        'top',
      ),
      d.bars(
        'Keys that are not Kubernetes\'',
        'Empty is healthy. By the first part of their names: who stores data beside the apiserver, and shares its quota. Give them an '
        + 'etcd of their own; if they are another apiserver\'s, add its prefix to the exporter\'s configuration.',
        [d.instant('topk(8, %s)' % foreign, '{{owner}}, ' + names.etcd)],
        'bytes',
        d.thresholds('orange', []),
        empty='Nobody else stores anything here',
        namePlacement='top',
      ),
    ],
  }
