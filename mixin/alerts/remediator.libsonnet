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
            max by (%(clusterLabel)s) (ballast_remediator_stops{%(remediator)s, kind="brake"}) > 0
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
          alert: 'BallastStopForgotten',
          expr: |||
            time() - min by (%(clusterLabel)s, kind) (
              ballast_remediator_stops_endless_since_timestamp_seconds{%(remediator)s, kind=~"kill_switch|freeze|hold"}
            ) > %(stopForgottenSeconds)d
          ||| % names,
          'for': config.stopForgottenFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'A stop without an end has stood for a day.',
            description: 'A {{ with $labels.kind }}{{ reReplaceAll "_" " " . }}{{ end }} of the remediator'
                         + cluster
                         + ' was set {{ $value | humanizeDuration }} ago, without an end: for all or a part of what it watches, '
                         + 'nothing is remedied. Whoever set it may have forgotten it: `ballastctl stops` says who, why, and how it '
                         + 'is lifted.',
          },
        },
        {
          alert: 'BallastRunStuck',
          expr: |||
            max by (%(clusterLabel)s, state) (
              ballast_remediator_oldest_open_run_age_seconds{%(remediator)s, state!="awaiting_approval"}
            ) > %(runStuckSeconds)d
          ||| % names,
          'for': config.runStuckFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'A run does not come to its end.',
            description: 'A run of the remediator'
                         + cluster
                         + ' has been {{ $labels.state }} for {{ $value | humanizeDuration }}. While it is open, no other run helps '
                         + 'its target, and one that runs holds its locks. `ballastctl runs` and `ballastctl show RUN` say what it '
                         + 'waits for.',
          },
        },
        {
          alert: 'BallastApprovalExpiring',
          expr: |||
            max by (%(clusterLabel)s) (ballast_remediator_approvals_expiring{%(remediator)s}) > 0
          ||| % names,
          'for': config.approvalExpiringFor,
          labels: { severity: 'critical' },
          annotations: {
            summary: 'A plan waits for a person, and soon not any more.',
            description: '{{ $value }} of the plans of the remediator'
                         + cluster
                         + ' that wait for approval will expire: two thirds of their time are over. What they would remedy goes on '
                         + 'meanwhile. `ballastctl runs`, then `ballastctl approve RUN` or `ballastctl reject RUN`.',
          },
        },
        {
          alert: 'BallastStoreDown',
          expr: |||
            min by (%(clusterLabel)s) (ballast_remediator_store_up{%(remediator)s}) == 0
          ||| % names,
          'for': config.storeDownFor,
          labels: { severity: 'critical' },
          annotations: {
            summary: 'The remediator cannot write to its store.',
            description: 'A remediator'
                         + cluster
                         + ' cannot read or write its database. It takes no alerts (Alertmanager repeats them), begins nothing, and '
                         + 'does not go on with what it began. `/readyz` and the log say why; mostly a disk is full or PostgreSQL is '
                         + 'away.',
          },
        },
        {
          alert: 'BallastStoreSlow',
          expr: |||
            histogram_quantile(0.99, sum by (%(clusterLabel)s, le) (
              rate(ballast_remediator_store_write_duration_seconds_bucket{%(remediator)s}[5m])
            )) > %(storeSlowSeconds)g
          ||| % names,
          'for': config.storeSlowFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'The store of the remediator is slow.',
            description: 'One write in a hundred of the remediator'
                         + cluster
                         + ' takes {{ $value | humanizeDuration }} or longer. Each notification of Alertmanager and each step of a '
                         + 'run waits for such a write; from 10 s on, notifications are refused.',
          },
        },
        {
          alert: 'BallastAuditBroken',
          expr: |||
            max by (%(clusterLabel)s) (ballast_remediator_audit_problem{%(remediator)s}) == 1
          ||| % names,
          labels: { severity: 'critical' },
          annotations: {
            summary: 'The audit of the remediator is not as it was written.',
            description: 'The chain of hashes of the audit of the remediator'
                         + cluster
                         + ' breaks: an entry was changed, taken out or put in, by somebody or by a damaged disk. `ballastctl audit '
                         + 'verify` names the entry. Keep a copy of the database before anything else.',
          },
        },
        {
          alert: 'BallastIngestRefused',
          expr: |||
            sum by (%(clusterLabel)s, code) (increase(ballast_remediator_notifications_refused_total{%(remediator)s}[5m])) > 0
          ||| % names,
          'for': config.ingestRefusedFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'The remediator refuses notifications.',
            description: 'The remediator'
                         + cluster
                         + ' has been answering notifications with status {{ $labels.code }} for a while. After a 5xx Alertmanager '
                         + 'repeats; what gets any other answer is lost, and what it told of is not remedied.',
          },
        },
        {
          alert: 'BallastNotificationSetAside',
          expr: |||
            sum by (%(clusterLabel)s) (increase(ballast_remediator_notifications_set_aside_total{%(remediator)s}[1h])) > 0
          ||| % names,
          'for': config.notificationSetAsideFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'The remediator could not make anything of a notification that it had accepted.',
            description: 'For a fault of its own, the remediator'
                         + cluster
                         + ' has set an accepted notification aside so that later ones go on. What it told of is not remedied, unless '
                         + 'Alertmanager sends it again in another one. Its log says which and why (notification_set_aside).',
          },
        },
        {
          alert: 'BallastHeartbeatMissing',
          expr: |||
            max by (%(clusterLabel)s, watched_cluster) (ballast_remediator_heartbeat_missing{%(remediator)s}) == 1
          ||| % names,
          'for': config.heartbeatMissingFor,
          labels: { severity: 'critical' },
          annotations: {
            summary: 'The heartbeat of a cluster does not reach the remediator.',
            description: 'The alert that always fires has not come from cluster "{{ $labels.watched_cluster }}" to the remediator'
                         + cluster
                         + ' for too long, or never did: its Prometheus, its Alertmanager, the route or the network between is down, '
                         + 'and no other alert of that cluster comes through either.',
          },
        },
        {
          alert: 'BallastNoticesNotDelivered',
          expr: |||
            max by (%(clusterLabel)s) (ballast_remediator_notices_given_up{%(remediator)s}) > 0
            or
            max by (%(clusterLabel)s) (ballast_remediator_notices_oldest_age_seconds{%(remediator)s}) > %(noticesLateSeconds)d
          ||| % names,
          'for': config.noticesFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'People are not told what the remediator has to tell.',
            description: 'Notices of the remediator'
                         + cluster
                         + ' do not reach their webhook: some wait for more than ten minutes, or were given up within the last day. '
                         + 'Who relies on them does not know what waits for approval, and what failed. The log says what the receiver'
                         + ' answers.',
          },
        },
        {
          alert: 'BallastPoliciesDiffer',
          expr: |||
            count by (%(clusterLabel)s) (count by (%(clusterLabel)s, digest) (ballast_remediator_policy_info{%(remediator)s})) > 1
          ||| % names,
          'for': config.policiesDifferFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'Replicas of the remediator obey different policies.',
            description: '{{ $value }} different policies are in force among the replicas of the remediator'
                         + cluster
                         + ', for longer than a roll-out takes. What is allowed depends on which of them looks.',
          },
        },
        {
          alert: 'BallastReplicaShort',
          expr: |||
            count by (%(clusterLabel)s) (up{%(remediator)s}) - (
              max by (%(clusterLabel)s) (ballast_remediator_replicas{%(remediator)s})
              or
              sum by (%(clusterLabel)s) (up{%(remediator)s})
            ) > 0
          ||| % names,
          'for': config.replicaShortFor,
          labels: { severity: 'warning' },
          annotations: {
            summary: 'A remediator that should work does not.',
            description: 'Prometheus knows of {{ $value }} remediators'
                         + cluster
                         + ' more than take part: they do not answer, or answer and have no lease on the store. The others go on; '
                         + 'when none is left, nothing is remedied and no alert is taken.',
          },
        },
      ]),
    ],
  },
}
