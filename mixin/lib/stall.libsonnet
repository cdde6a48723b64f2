// The verdicts on an apiserver's way to etcd, as grpc_stall gives them, and which one counts where exporters disagree.
{
  // Each with its number in the recorded series and on dashboards: the higher, the sooner somebody has to act.
  verdicts:: {
    ok: 0,
    unknown: 1,
    overloaded: 2,
    etcd_slow: 3,
    etcd_member_bad: 4,
    unreachable: 5,
    down: 6,
    watch_stale: 7,
    channel_stalled: 8,
    etcd_down: 9,
  },

  // Whose word counts, strongest first. Who sees an apiserver read and write is right that it does; who sees etcd fail saw more
  // than one who blames the channel; and who cannot reach an apiserver which another one reaches has a fault of its own. So
  // nothing is done to an apiserver on the word of an exporter that is cut off.
  local strength = [
    'ok',
    'etcd_down',
    'etcd_member_bad',
    'etcd_slow',
    'overloaded',
    'channel_stalled',
    'watch_stale',
    'down',
    'unreachable',
    'unknown',
  ],

  labels(config):: '%s, apiserver' % config.clusterLabel,

  local said(config, by, matcher) =
    'max by (%s) (ballast_grpc_stall_verdict{%s, verdict%s}) == 1' % [by, config.ballastExporterSelector, matcher],

  // The apiservers on which this verdict counts: one exporter gives it, and none a stronger one.
  agreed(config, verdict)::
    local by = $.labels(config);
    local rank = std.find(verdict, strength)[0];
    said(config, by, '="%s"' % verdict)
    + if rank == 0 then '' else
      '\nunless on (%s)\n%s' % [by, said(config, by, '=~"%s"' % std.join('|', strength[:rank]))],
}
