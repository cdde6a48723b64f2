// Every knob of the mixin. Override with `mixin { _config+:: { … } }`; the hidden field keeps kube-prometheus' output clean.
// The object is flat on purpose: one override replaces one value, and derived defaults follow it.
{
  _config+:: {
    local config = self,

    // Who scrapes what. kube-prometheus names the job after the app label of the Service.
    ballastExporterSelector: 'job="ballast-exporter"',
    ballastRemediatorSelector: 'job="ballast-remediator"',
    kubeStateMetricsSelector: 'job="kube-state-metrics"',
    // The stock scrape of the apiservers: what is asked of them is read there in clusters where Ballast does not read it itself.
    apiserverSelector: 'job="apiserver"',
    // The label that tells clusters apart in a shared Prometheus, Thanos or Mimir. Series without it work as well.
    clusterLabel: 'cluster',
    // A runbook link is this prefix, the alert's name and ".md". Point it at where your people read docs/alerts.
    runbookURLPrefix: 'https://ballast.example/docs/alerts',

    // kube-prometheus' stock interval. Only the burst forecast derives from it.
    scrapeIntervalSeconds: 30,
    // null leaves a rule group on Prometheus' own evaluation interval. Action alerts may be evaluated faster than pages.
    evaluationInterval: null,
    actionEvaluationInterval: null,
    // false leaves out the alerts that only the remediator answers.
    actionAlertsEnabled: true,

    // kube-apiserver's --etcd-compaction-interval. It keeps one interval of history and compacts once an interval, so
    // what was written and superseded is gone after two; the peak over three is a size that compaction does not undercut.
    compactionIntervalSeconds: 300,
    peakCompactionIntervals: 3,

    // Forecasts. Growth counts when every third of the window shows it, so a single rise shorter than a third never counts.
    //  short: a third is as long as the peak's memory, longer than compaction lets any one rise last.
    //  long:  for tickets; a third of two hours outlives imports, roll-outs and most jobs.
    //  burst: for a fill that is over before `short` has seen enough. Compaction might still return such growth, so it
    //         counts only when the limit comes before compaction can: within two intervals. A third holds two scrapes.
    // With these defaults a 2 GiB database filled from nothing within 10 minutes is warned of after about 6 and a half.
    forecastShortWindowSeconds: 3 * config.peakCompactionIntervals * config.compactionIntervalSeconds,
    forecastLongWindowSeconds: 6 * 3600,
    forecastBurstWindowSeconds: 6 * config.scrapeIntervalSeconds,
    forecastBurstHorizonSeconds: 2 * config.compactionIntervalSeconds,

    // EtcdQuotaExhaustionPredicted. The critical `for` is short because the growth behind it has already been sustained;
    // with the burst window it is just longer than one compaction interval and a third of the window, so that the first
    // tooth after a defragmentation is over before it could page.
    predictedCriticalSeconds: 4 * 3600,
    predictedCriticalFor: '3m',
    predictedWarningSeconds: 24 * 3600,
    predictedWarningFor: '15m',
    predictedKeepFiringFor: '5m',

    // EtcdNoSpace and its action alert. etcd 3.6 answers no Status while it defragments, so the source blinks during the cure.
    noSpaceKeepFiringFor: '2m',
    freeSpaceKeepFiringFor: '5m',

    // EtcdFragmentationHigh. Free pages are reused, so they are worth a defragmentation only when they are many, and when
    // the file they sit in has come near the quota, which counts free pages as used.
    fragmentationRatio: 0.5,
    fragmentationBytes: 256 * 1024 * 1024,
    fragmentationUsedRatio: 0.5,
    fragmentationFor: '15m',

    // EtcdDefragNeeded, the action alert of etcd-defrag: the runbook's own least_free_share and least_free_bytes, so that there
    // is something to do whenever it fires. An hour, so that a share which swings around the limit starts nothing.
    defragRatio: 0.3,
    defragBytes: 100 * 1024 * 1024,
    defragFor: '1h',
    defragKeepFiringFor: '5m',

    // EtcdQuotaDefaultOnLargeCluster. etcd's hardware guide calls up to 250 nodes a medium cluster.
    quotaDefaultBytes: 2 * 1024 * 1024 * 1024,
    quotaSuggestedBytes: 8 * 1024 * 1024 * 1024,
    largeClusterNodes: 250,
    quotaDefaultFor: '15m',

    // The census. Growth of a resource, and of all live data, is a line through so much of the past: six censuses of ten minutes.
    censusGrowthWindowSeconds: 3600,

    // EtcdResourceDoubled. The day is compared with the most that was counted in the hours before it, so that a census or two
    // that failed then leave no hole. Less growth than doubledBytes is silent. The `for` is three censuses of ten minutes.
    doubledRatio: 2,
    doubledBytes: 100 * 1024 * 1024,
    doubledWithinSeconds: 24 * 3600,
    doubledGapSeconds: 2 * 3600,
    doubledFor: '30m',
    doubledKeepFiringFor: '2h',

    // EtcdResourceDominates. In a calm cluster pods hold half of the live data, and nobody minds while there is room: it counts
    // when live data, which no compaction and no defragmentation returns, has come near the quota.
    dominatesRatio: 0.3,
    dominatesBytes: 100 * 1024 * 1024,
    dominatesLiveRatio: 0.5,
    dominatesFor: '30m',

    // EtcdObjectNearRequestLimit: etcd's --max-request-bytes.
    requestLimitBytes: 3 * 1024 * 1024 / 2,
    objectNearLimitRatio: 2 / 3,
    objectNearLimitFor: '15m',

    // EtcdForeignKeys. Whose keys are expected stands in the exporter's `prefixes`.
    foreignRatio: 0.05,
    foreignBytes: 1024 * 1024,
    foreignFor: '30m',

    // A census comes to its end every ten minutes, and is told for half an hour.
    censusMissingFor: '1h',

    // At what rate a member rewrites its database while it is defragmented, for the predicted stalls; the runbook measures it.
    defragBytesPerSecond: 50 * 1024 * 1024,

    // What the apiservers are asked. Below so many requests a second a share hurts nobody: an idle cluster's apiserver mostly asks
    // itself. 5,000 healthy nodes that watch 30 ConfigMaps each make some 300 requests a second of 1,500: a fifth.
    shareRequestsPerSecond: 20,
    configMapShareRatio: 0.5,
    configMapShareFor: '5m',
    // One client. Nodes are many and together make most requests of a large cluster: what they flood is told by resource.
    clientShareRatio: 0.5,
    clientShareExempt: 'nodes(:.*)?',
    clientShareFor: '10m',
    // ApiserverListsUnlimited. A page of 500 objects, which is what kubectl and client-go ask for, is some 5 MiB of pods.
    listMeanBytes: 20 * 1024 * 1024,
    listBytesPerSecond: 20 * 1024 * 1024,
    listsFor: '10m',
    // ApiserverRequestsRejected. Urgent are the priority levels of heartbeats and of the control plane itself.
    rejectedPerSecond: 0.1,
    rejectedUrgentLevels: 'system|node-high|leader-election',
    rejectedUrgentFor: '2m',
    rejectedFor: '5m',
    // ApiserverWatchesGrowing. The hour before is taken at its most, so that an apiserver that was not seen for a while is no growth.
    watchesGrowthRatio: 1.5,
    watchesMany: 10000,
    watchesGapSeconds: 1800,
    watchesWindowSeconds: 3600,
    watchesFor: '10m',
    // BallastRequestShareHigh. So few requests a second are nothing to an apiserver, whatever their share.
    ownShareRatio: 0.01,
    ownRequestsPerSecond: 10,
    ownShareFor: '15m',
    // ApiserverAuditEventsDropped and BallastAuditEventsShed: a restart of the receiver costs less than that.
    auditDroppedFor: '5m',
    auditShedFor: '5m',

    // The apiservers' way to etcd. A stall has to be told within 20 s, since nodes go NotReady after 40: so these groups have an
    // interval of their own (null leaves them on Prometheus' own), and the exporter is to be scraped every 5 s as well. A verdict
    // has been confirmed by a second failure when it comes, so most of its alerts have no `for`. They outlive an exporter that is
    // restarted: it starts within seconds, and needs a few more for a verdict.
    pathEvaluationInterval: '5s',
    pathKeepFiringFor: '1m',
    // ApiserverDown. A planned restart that takes longer is told as well. With more than 5s it comes later than 20 s.
    apiserverDownFor: '5s',
    overloadedFor: '30s',
    etcdSlowFor: '1m',
    pathUnknownFor: '10m',
    // ApiserverCanaryAbsent. A write through each apiserver is tried every 2 s.
    canaryAbsentSeconds: 30,
    canaryAbsentFor: '30s',
    // ApiserverWatchDelayHigh. News takes milliseconds; after 2.5 s it counts as lost, which is a verdict of its own.
    watchDelaySeconds: 1,
    watchDelayFor: '2m',
    // ApiserverEtcdErrorsHigh. An apiserver cancels calls whenever a client goes away, and lists go on after a compaction.
    etcdErrorsExempt: 'OK|Canceled|OutOfRange',
    etcdErrorsRatio: 0.05,
    etcdErrorsPerSecond: 0.1,
    etcdErrorsFor: '1m',
    // When nodes go NotReady whose kubelet cannot renew its Lease: kube-controller-manager's --node-monitor-grace-period, which is
    // 40 s up to Kubernetes 1.31 and 50 s from 1.32 on, after the last renewal; that is up to 10 s older than the stall.
    nodeGraceSeconds: 40,
    nodeRenewSeconds: 10,
    // From so many seconds without a write on, a page says when that will be.
    nodeGraceToldSeconds: 10,
    // The action alerts. Cutting the connections has had its time, ten seconds, well before a restart is asked for.
    cutKeepFiringFor: '1m',
    restartNeededFor: '1m',
    restartKeepFiringFor: '1m',

    // BallastExporterBlind.
    blindFor: '5m',
    blindStaleSeconds: 300,
    blindStaleFor: '1m',

    // What keeps the remediator from its work. A kill switch, a freeze or a hold is somebody's decision: it is asked about after a day.
    policyProblemFor: '5m',
    brakeFor: '1m',
    stopForgottenSeconds: 24 * 3600,
    stopForgottenFor: '5m',

    // The remediator's own health. Its longest steps take ten minutes (defrag_timeout), and a run has a few of them. A write waits for
    // one fsync: a second is a sick disk. A roll-out of replicas with a new policy takes minutes.
    runStuckSeconds: 2 * 3600,
    runStuckFor: '5m',
    approvalExpiringFor: '1m',
    storeDownFor: '2m',
    storeSlowSeconds: 1,
    storeSlowFor: '10m',
    ingestRefusedFor: '5m',
    notificationSetAsideFor: '1m',
    heartbeatMissingFor: '1m',
    noticesLateSeconds: 600,
    noticesFor: '1m',
    policiesDifferFor: '15m',
    replicaShortFor: '10m',

    // Where Alertmanager delivers action alerts, and the file with the bearer token it shows there.
    remediatorURL: 'http://ballast-remediator.monitoring.svc:9791/api/v1/alertmanager',
    remediatorTokenFile: '/etc/alertmanager/secrets/ballast-remediator/token',

    // Grafana. "What helps" begins at a file of so much of the quota, and names what returns so much of the file; live data of
    // more than crowdedRatio of the quota leaves no cure but to have less of it.
    helpFromUsedRatio: 0.5,
    worthRatio: 0.3,
    crowdedRatio: 0.8,
    dashboardRefresh: '30s',
    dashboardTags: ['ballast'],
  },
}
