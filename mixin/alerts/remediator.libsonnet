// The remediator, where it waits for people: what stops it, and a policy that is not the one that was written.
local promql = import '../lib/promql.libsonnet';

{
  _config+:: {
    ballastRemediatorSelector: error 'set _config.ballastRemediatorSelector, such as job="ballast-remediator"',
  },

  local config = $._config,
  local names = config { remediator: config.ballastRemediatorSelector },
  local cluster = '{{ with $labels.%(clusterLabel)s }} in cluster "{{ . }}"{{ end }}' % names,

  prometheusAlerts+:: {
    groups+: [
      promql.group('ballast-remediator', config.evaluationInterval, [
        // max: each remediator has a policy of its own, and one that is not in force is one too many.
        {
          alert: 'BallastPolicyNotInForce',
          expr: |||
            max by (%(clusterLabel)s) (ballast_remediator_policy_problem{%(remediator)s}) == 1
          ||| % names,
          'for': config.policyProblemFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'The remediator obeys an older policy than the one that was written last.',
            description: 'The policy file of the remediator' + cluster + ' cannot be used as it is, so the last good one stays in '
                         + 'force. What was changed, such as a freeze or a mode, does not count. `ballastctl policy check FILE` names '
                         + 'the line.',
          },
        },
        {
          alert: 'BallastBrakeOn',
          expr: |||
            sum by (%(clusterLabel)s) (ballast_remediator_stops{%(remediator)s, kind="brake"}) > 0
          ||| % names,
          'for': config.brakeFor,
          labels: { severity: 'critical' },
          annotations: {
            summary: 'The remediator has stopped itself: too many targets at once.',
            description: 'Alerts for more targets than the policy takes for believable came at once, so the remediator' + cluster
                         + ' begins nothing any more until a person has looked. Mostly one fault is behind all of them: a network, '
                         + 'a Prometheus, a release. `ballastctl stops` says what came, and how the brake is lifted.',
          },
        },
        {
          alert: 'BallastKillSwitchOn',
          expr: |||
            sum by (%(clusterLabel)s) (ballast_remediator_stops{%(remediator)s, kind="kill_switch"}) > 0
          ||| % names,
          'for': config.killSwitchFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'The remediator has been stopped by a person for a day.',
            description: 'A kill switch of the remediator' + cluster + ' has been on for a day: for all or a part of what it watches, '
                         + 'nothing is remedied. Whoever set it may have forgotten it: `ballastctl stops` says who, why, and how it '
                         + 'is lifted.',
          },
        },
      ]),
    ],
  },
}
