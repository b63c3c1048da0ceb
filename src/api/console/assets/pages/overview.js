// The overview: figures, health and the latest restored members, sent once a second by this replica.

import { explainPage } from '../address.js';
import { get, here, write } from '../api.js';
import { h, show } from '../dom.js';
import { clock, hours, moment, number, rate, span } from '../format.js';
import { t } from '../i18n.js';
import { attempt, hint } from '../parts/notice.js';
import { chart } from '../parts/chart.js';
import { banner, states } from '../parts/states.js';
import { marks } from '../parts/marks.js';
import { writeButton } from '../parts/write.js';

const POINTS = 120;
// Seconds of a point of each range, and how many events make a point of the long one.
const RANGES = { short: 1, long: 30 };
const SHOWN = 12;
// A stream without an event for this long counts as lost.
const SILENCE = 5000;
// EventSource does not reconnect to a stream that was refused; the page does, after this time.
const RECONNECT = 5000;

// Each tile: its name, its value in a point, the format of the value, and the line below.
const TILES = [
  ['callbacks', (point) => point.callbacks, rate, () => ''],
  ['calls', (point) => point.calls, rate, calls],
  ['restored', (point) => point.restored, rate, () => ''],
  ['delay', (point) => point.median_delay, span, (status, point) =>
    (point.median_delay === null ? t('overview.delay.none') : t('overview.delay.p99', { p99: span(point.p99_delay) }))],
  ['queue', (point) => point.waiting, number, ({ queue }) => (queue?.due
    ? t('overview.queue.age', { age: span(queue.oldest_seconds) })
    : t('overview.queue.empty'))],
];

// The point of a replica that has not counted yet.
const NOTHING = { callbacks: null, calls: null, restored: null, median_delay: null, p99_delay: null };

const budget = (status) => status.budgets.find((one) => one.api === 'modify_user_info');

function calls(status) {
  const own = budget(status);
  if (!own) return '';
  const values = { budget: number(own.per_second), share: number(own.share * 100) };
  return t(own.share < 1 ? 'overview.calls.slowed' : 'overview.calls.budget', values);
}

export function overviewPage({ signal, canWrite }) {
  const warning = h('div', {});
  const connection = h('div', { role: 'status' });
  const tiles = TILES.map(([name, ...rest]) => tile(name, ...rest));
  const parts = h('div', {});
  const list = h('ol', { class: 'latest' });
  const none = h('p', { class: 'none' }, t('overview.latest.none'));
  let range = 'short';
  const ranges = h('div', { class: 'ranges', role: 'group', 'aria-label': t('overview.range') }, Object.keys(RANGES).map((name) =>
    h('button', { type: 'button', class: 'quiet small', 'aria-pressed': String(name === range), data: { range: name }, on: { click: () => turn(name) } }, t(`overview.range.${name}`))));
  const turn = (name) => {
    range = name;
    for (const one of ranges.children) one.setAttribute('aria-pressed', String(one.dataset.range === name));
    picture();
  };
  const picture = () => {
    if (seen.status) for (const one of tiles) one.draw(seen.status, seen.short.at(-1), seen[range], RANGES[range]);
  };
  const figures = h('div', {},
    h('div', { class: 'bar' }, h('p', { class: 'lead' }, t('overview.lead')), ranges),
    h('section', { class: 'tiles', 'aria-label': t('overview.pictures') }, tiles.map((one) => one.node)),
    h('div', { class: 'columns' },
      h('section', { class: 'card' }, h('h2', {}, t('overview.states')), parts),
      h('section', { class: 'card' }, h('h2', {}, t('overview.latest')), none, list)));
  const seen = { short: [], long: [], news: [], banner: '', at: null, status: null };

  const draw = ({ status, point, restored, skipped }) => {
    seen.at = new Date();
    const latest = { ...NOTHING, ...point, waiting: status.queue?.due ?? null };
    seen.status = status;
    seen.short = [...seen.short, latest].slice(-POINTS);
    seen.news.push(latest);
    if (seen.news.length === RANGES.long) seen.long = [...seen.long, joined(seen.news.splice(0))].slice(-POINTS);
    picture();
    show(parts, states(status));
    // An alert that is built again is read out again.
    const key = JSON.stringify([status.chat, status.chat_resync]);
    if (key !== seen.banner) show(warning, banner(status, h('div', { class: 'actions' }, probeButton(canWrite))));
    seen.banner = key;
    show(connection, status.draining && hint(t('overview.draining')));
    figures.classList.remove('outdated');
    add(restored, skipped);
  };
  const add = (restored, skipped = 0) => {
    if (restored.length) none.remove();
    list.prepend(...restored.reverse().map(restoration), ...(skipped ? [more(skipped)] : []));
    while (list.children.length > SHOWN) list.lastChild.remove();
  };
  watch({
    signal,
    past: ({ seconds, half_minutes: halves, restored }) => {
      [seen.short, seen.long, seen.news] = [seconds, halves, []];
      show(list);
      add(restored);
    },
    now: draw,
    lost: () => {
      if (connection.querySelector('.lost')) return;
      figures.classList.add('outdated');
      show(connection, hint(h('span', { class: 'lost' }, t('overview.lost'), ' ',
        seen.at && t('overview.as.of', { when: moment(seen.at) }))));
    },
  });

  return { title: t('overview.title'), nodes: [warning, connection, figures] };
}

function tile(name, value, words, below) {
  const label = t(`overview.${name}`);
  const figure = h('p', { class: 'figure' }, '–');
  const under = h('p', { class: 'under' });
  const place = h('div', {});
  return {
    node: h('figure', { class: 'tile', data: { testid: `overview-${name}` } }, h('figcaption', {}, label), figure, under, place),
    draw(status, point, points, step) {
      const values = points.map((one) => value(one) ?? null);
      const now = value(point) ?? null;
      const top = Math.max(0, ...values.filter((one) => one !== null));
      figure.textContent = now === null ? '–' : words(now);
      under.textContent = below(status, point);
      // A chart that is looked at keeps still.
      if (place.querySelector('.chart:hover')) return;
      const limit = name === 'calls' ? budget(status)?.per_second : undefined;
      show(place, chart({
        values, length: POINTS, step, limit, words, clock: hours, label: t('overview.spark', { label, now: figure.textContent, top: words(top) }),
      }));
    },
  };
}

// The mean of the rates, and the highest of the rest, as the service joins points.
function joined(points) {
  const known = (name) => points.map((point) => point[name]).filter((value) => value !== null && value !== undefined);
  const mean = (name) => (known(name).length ? known(name).reduce((sum, value) => sum + value, 0) / known(name).length : null);
  const highest = (name) => (known(name).length ? Math.max(...known(name)) : null);
  return {
    callbacks: mean('callbacks'), calls: mean('calls'), restored: mean('restored'),
    median_delay: highest('median_delay'), p99_delay: highest('p99_delay'), waiting: highest('waiting'),
  };
}

// After a repair one need not wait for the next try.
const probeButton = (canWrite) => writeButton(canWrite, t('overview.probe'), () =>
  attempt(() => write('POST', '/v1/chat/probe'), ({ outcome }) => t(`overview.probe.${outcome}`)));

const restoration = (one) => h('li', {},
  clock(one.at),
  h('span', { class: 'member-name' },
    h('a', { href: explainPage(one) }, one.account),
    h('small', {}, one.group)),
  h('span', { class: 'delay' }, one.marks.length ? marks(one.marks) : t('overview.removed'), ' ', h('span', { class: 'nowrap' }, t('overview.after', { delay: span(one.delay_seconds) }))));

const more = (n) => h('li', { class: 'none' }, h('span', {}, t('overview.latest.skipped', { n })));

// Receives events until the page is left.
function watch(handlers) {
  const { signal, past, now, lost } = handlers;
  const source = new EventSource(here('/console/events'));
  let silence;
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(lost, SILENCE);
  };
  const end = () => {
    clearTimeout(silence);
    source.close();
  };
  signal.addEventListener('abort', end);
  alive();
  source.addEventListener('past', (event) => past(JSON.parse(event.data)));
  source.addEventListener('now', (event) => {
    alive();
    now(JSON.parse(event.data));
  });
  source.addEventListener('error', async () => {
    lost();
    if (source.readyState !== EventSource.CLOSED || signal.aborted) return;
    end();
    signal.removeEventListener('abort', end);
    // EventSource hides the status; an expired session shows in this answer.
    await get('/v1/rooms', { limit: 1 }, { signal }).catch(() => {});
    setTimeout(() => signal.aborted || watch(handlers), RECONNECT);
  });
}
