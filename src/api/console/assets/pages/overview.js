// The overview: figures, health and the latest restored members, sent once a second by this replica.

import { explainPage } from '../address.js';
import { get } from '../api.js';
import { h, show } from '../dom.js';
import { clock, moment, number, rate, span } from '../format.js';
import { t } from '../i18n.js';
import { hint } from '../parts/notice.js';
import { spark } from '../parts/spark.js';
import { banner, states } from '../parts/states.js';
import { marks } from '../parts/table.js';

const POINTS = 120;
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

export function overviewPage({ signal }) {
  const warning = h('div', {});
  const connection = h('div', { role: 'status' });
  const tiles = TILES.map(([name, ...rest]) => tile(name, ...rest));
  const parts = h('div', {});
  const list = h('ol', { class: 'latest' });
  const none = h('p', { class: 'none' }, t('overview.latest.none'));
  const figures = h('div', {},
    h('section', { class: 'tiles', 'aria-label': t('overview.pictures') }, tiles.map((one) => one.node)),
    h('div', { class: 'columns' },
      h('section', { class: 'card' }, h('h2', {}, t('overview.latest')), none, list),
      h('section', { class: 'card' }, h('h2', {}, t('overview.states')), parts)));
  const seen = { points: [], banner: '', at: null };

  const draw = ({ status, point, restored, skipped }) => {
    seen.at = new Date();
    const latest = { ...NOTHING, ...point, waiting: status.queue?.due ?? null };
    seen.points = [...seen.points, latest].slice(-POINTS);
    for (const one of tiles) one.draw(status, seen.points);
    show(parts, states(status));
    // An alert that is built again is read out again.
    const key = JSON.stringify([status.chat, status.chat_resync]);
    if (key !== seen.banner) show(warning, banner(status));
    seen.banner = key;
    show(connection, status.draining && hint(t('overview.draining')));
    figures.classList.remove('outdated');
    if (restored.length) none.remove();
    list.prepend(...restored.reverse().map(restoration), ...(skipped ? [more(skipped)] : []));
    while (list.children.length > SHOWN) list.lastChild.remove();
  };
  watch({
    signal,
    past: (points) => {
      seen.points = points;
    },
    now: draw,
    lost: () => {
      if (connection.querySelector('.lost')) return;
      figures.classList.add('outdated');
      show(connection, hint(h('span', { class: 'lost' }, t('overview.lost'), ' ',
        seen.at && t('overview.as.of', { when: moment(seen.at) }))));
    },
  });

  return { title: t('overview.title'), nodes: [warning, connection, figures, h('p', { class: 'hint' }, t('overview.lead'))] };
}

function tile(name, value, words, below) {
  const label = t(`overview.${name}`);
  const figure = h('p', { class: 'figure' }, '–');
  const under = h('p', { class: 'under' });
  const place = h('div', {}, spark([], label));
  return {
    node: h('figure', { class: 'tile', data: { testid: `overview-${name}` } }, h('figcaption', {}, label), figure, under, place),
    draw(status, points) {
      const values = points.map((point) => value(point) ?? null);
      const now = values.at(-1);
      const top = Math.max(0, ...values.filter((one) => one !== null));
      figure.textContent = now === null ? '–' : words(now);
      under.textContent = below(status, points.at(-1));
      const limit = name === 'calls' ? budget(status)?.per_second : undefined;
      show(place, spark(values, t('overview.spark', { label, now: figure.textContent, top: words(top) }), limit));
    },
  };
}

const restoration = (one) => h('li', {},
  clock(one.at),
  h('span', { class: 'member-name' },
    h('a', { href: explainPage(one) }, one.account),
    h('small', {}, one.group)),
  h('span', { class: 'delay' }, one.marks.length ? marks(one.marks) : t('overview.removed'), ' ', t('overview.after', { delay: span(one.delay_seconds) })));

const more = (n) => h('li', { class: 'none' }, h('span', {}, t('overview.latest.skipped', { n })));

// Receives events until the page is left.
function watch(handlers) {
  const { signal, past, now, lost } = handlers;
  const source = new EventSource('/console/events');
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
