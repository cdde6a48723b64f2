// The whole mixin: prometheusAlerts, prometheusRules, grafanaDashboards, and alertmanager for what rules cannot carry.
(import 'rules/etcd_space.libsonnet') +
(import 'rules/etcd_keyspace.libsonnet') +
(import 'rules/apiserver.libsonnet') +
(import 'rules/apiserver_path.libsonnet') +
(import 'alerts/etcd_space.libsonnet') +
(import 'alerts/etcd_defrag.libsonnet') +
(import 'alerts/etcd_keyspace.libsonnet') +
(import 'alerts/apiserver.libsonnet') +
(import 'alerts/apiserver_path.libsonnet') +
(import 'alerts/exporter.libsonnet') +
(import 'alerts/remediator.libsonnet') +
(import 'dashboards/etcd-space.libsonnet') +
(import 'dashboards/remediation.libsonnet') +
(import 'dashboards/request-mix.libsonnet') +
(import 'dashboards/control-plane-path.libsonnet') +
(import 'dashboards/clients.libsonnet') +
(import 'alertmanager.libsonnet') +
// After the alerts, so that it sees every one of them.
(import 'lib/runbook_links.libsonnet') +
// Last, so that its values replace the `error` defaults with which each file names what it needs.
(import 'config.libsonnet')
