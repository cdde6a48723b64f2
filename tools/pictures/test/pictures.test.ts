import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { collect } from '../src/collect';
import { canvasHeight, decode, encode, place, type Dashboard, type Panel, type Picture } from '../src/picture';
import { name, Prometheus, series } from '../src/prometheus';
import { silent } from '../src/silent';
import { spans } from '../src/spans';
import { choose, clock, interpolate } from '../src/variables';

const query = { refId: 'A', expr: 'up{member=~"$member"}' };
const panel = (extra: Partial<Panel> = {}): Panel => ({
  id: 1,
  type: 'stat',
  title: 'Up',
  gridPos: { x: 0, y: 0, w: 12, h: 4 },
  targets: [query],
  ...extra,
});
const dashboard = (panels: Dashboard['panels'], list: object[] = []): Dashboard =>
  ({ title: 'Test', uid: 'test', panels, templating: { list } }) as unknown as Dashboard;

async function served<T>(answer: RequestListener, use: (prometheus: Prometheus) => Promise<T>): Promise<T> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    return await use(new Prometheus(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test('a legend takes its labels, and without one the series names itself', () => {
  assert.equal(name({ member: 'a' }, '{{ member }} size', 'up'), 'a size');
  assert.equal(name({ member: 'a' }, '{{cluster}} {{member}}', 'up'), ' a');
  assert.equal(name({ __name__: 'up', job: 'x' }, undefined, 'up'), 'up{job="x"}');
  assert.equal(name({}, '', 'sum(up)'), 'sum(up)');
});

test('infinities and NaN are read as Prometheus writes them', () => {
  const values = [
    [1, '+Inf'],
    [2, '-Inf'],
    [3, 'NaN'],
    [4, '1e3'],
  ] as Array<[number, string]>;
  assert.deepEqual(series([{ metric: {}, values }], query)[0]?.values, [Infinity, -Infinity, NaN, 1000]);
});

test('a picture reaches the page with its infinities', () => {
  const one = { name: '', labels: {}, times: [1], values: [-Infinity, NaN, 2] };
  const picture = { answers: { 1: [{ refId: 'A', step: 5, series: [one] }] } };
  assert.deepEqual(decode(encode(picture as unknown as Picture)), picture);
});

test('variables stand in queries in both spellings, and what is unknown stays', () => {
  assert.equal(interpolate('$a ${a} $ab $__interval', { a: '1', __interval: '5s' }), '1 1 $ab 5s');
});

test('a rate sees four scrapes at least', () => {
  assert.equal(clock(0, 3600, 15, 15).__rate_interval, '60s');
  assert.equal(clock(0, 3600, 120, 15).__rate_interval, '135s');
});

test('all values of a variable are its allValue, or what Prometheus offers', async () => {
  const asked: string[] = [];
  const variable = (extra: object) => ({ type: 'query', multi: true, current: { text: 'All', value: '$__all' }, ...extra });
  const list = [
    variable({ name: 'cluster', label: 'Cluster', query: { query: 'label_values(up, cluster)' }, allValue: '.*' }),
    variable({ name: 'member', query: 'label_values(up{cluster=~"$cluster"}, member)' }),
  ];
  const answer: RequestListener = (request, response) => {
    asked.push(decodeURIComponent(request.url ?? ''));
    response.end(JSON.stringify({ status: 'success', data: ['a.b', 'c'] }));
  };
  const { values, choices } = await served(answer, (prometheus) => choose(dashboard([], list), prometheus, 1, 2));
  assert.deepEqual(values, { cluster: '.*', member: '(a\\\\.b|c)' });
  assert.deepEqual(choices[0], { label: 'Cluster', text: 'All' });
  assert.equal(asked[1], '/api/v1/label/member/values?match[]=up{cluster=~".*"}&start=1&end=2');
});

test('what Prometheus refuses is said with its words and the panel', async () => {
  const answer: RequestListener = (_, response) => {
    response.statusCode = 400;
    response.end(JSON.stringify({ status: 'error', error: 'parse error' }));
  };
  const view = { from: 0, to: 60, scrape: 5, width: 1600 };
  await assert.rejects(
    served(answer, (prometheus) => collect(dashboard([panel()]), prometheus, view)),
    /panel "Up": Prometheus: parse error/,
  );
});

test('what is not drawn is refused, not left out', async () => {
  const view = { from: 0, to: 60, scrape: 5, width: 1600 };
  const nobody = new Prometheus('http://127.0.0.1:9');
  const row = { type: 'row' as const, id: 2, title: 'More', collapsed: true, gridPos: panel().gridPos, panels: [panel()] };
  await assert.rejects(collect(dashboard([row]), nobody, view), /row "More" is collapsed/);
  await assert.rejects(collect(dashboard([panel({ repeat: 'member' })]), nobody, view), /panel "Up" is repeated/);
});

const pictured = (found: Record<string, number[]>): Picture =>
  ({ answers: { 1: Object.entries(found).map(([refId, values]) => ({ refId, series: [{ values }] })) } }) as unknown as Picture;
const words = (one: Panel, ...pictures: Picture[]) => silent(dashboard([one]), pictures);

test('a panel is silent only when no moment shows anything', () => {
  assert.deepEqual(words(panel(), pictured({ A: [] }), pictured({ A: [1] })), []);
  assert.deepEqual(words(panel(), pictured({ A: [NaN] })), [{ words: '"Up" (panel 1) has no data', expected: false }]);
});

test('one silent query of several is named', () => {
  const both = panel({ targets: [query, { refId: 'B', expr: 'down' }] });
  assert.deepEqual(words(both, pictured({ A: [1], B: [] })), [{ words: '"Up" (panel 1) has no data for B', expected: false }]);
});

test('a panel that says what emptiness means may be empty', () => {
  const saying = (noValue: string) => panel({ fieldConfig: { defaults: { noValue }, overrides: [] } as unknown as Panel['fieldConfig'] });
  assert.deepEqual(words(saying('Not growing'), pictured({ A: [] })), [
    { words: '"Up" (panel 1) has no data, which means: Not growing', expected: true },
  ]);
  assert.equal(words(saying('unknown'), pictured({ A: [] }))[0]?.expected, false);
});

test('equal neighbours are one stretch, and a gap ends it', () => {
  assert.deepEqual(spans([0, 5, 10, 30], [1, 1, 2, 2], 5, true), [
    { from: 0, to: 10, value: 1 },
    { from: 10, to: 15, value: 2 },
    { from: 30, to: 35, value: 2 },
  ]);
  assert.equal(spans([0, 5], [1, 1], 5, false).length, 2);
});

test('panels lie on the grid as in Grafana', () => {
  assert.deepEqual(place({ x: 12, y: 1, w: 12, h: 4 }, 1568), { left: 788, top: 38, width: 780, height: 144 });
  assert.equal(canvasHeight(dashboard([panel()])), 152);
});
