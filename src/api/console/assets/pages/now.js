// What happens now: a picture a second, pushed by the replica that answers.

import { get } from '../api.js';
import { h, show } from '../dom.js';
import { number, rate, span, time } from '../format.js';
import { t } from '../i18n.js';
import { address } from '../parts/form.js';
import { hint } from '../parts/notice.js';
import { spark } from '../parts/spark.js';
import { banner, states } from '../parts/states.js';
import { marks } from '../parts/table.js';

const POINTS = 120;
const SHOWN = 12;
// A browser gives up for good when a stream is refused; then the page asks again by itself.
const ASK_AGAIN = 5000;

// Each picture: what it is called, what it takes of a point, and how it writes a value. The last one
// gives what stands below, of the status and the point.
const PICTURES = [
  ['callbacks', (point) => point.callbacks, rate, () => ''],
  ['calls', (point) => point.calls, rate, calls],
  ['restored', (point) => point.restored, rate, () => ''],
  ['delay', (point) => point.median_delay, span, (status, point) =>
    (point.median_delay === null ? t('now.delay.none') : t('now.delay.p99', { p99: span(point.p99_delay) }))],
  ['queue', (point) => point.waiting, number, ({ queue }) => (queue?.due
    ? t('now.queue.age', { age: span(queue.oldest_seconds) })
    : t('now.queue.empty'))],
];

// Of a replica that has not counted yet.
const NOTHING = { callbacks: null, calls: null, restored: null, median_delay: null, p99_delay: null };

const budget = (status) => status.budgets.find((one) => one.api === 'modify_user_info');

function calls(status) {
  const own = budget(status);
  if (!own) return '';
  const values = { budget: number(own.per_second), share: number(own.share * 100) };
  return t(own.share < 1 ? 'now.calls.slowed' : 'now.calls.budget', values);
}

export function nowPage({ signal }) {
  const warning = h('div', {});
  const connection = h('div', { role: 'status' });
  const tiles = PICTURES.map(([name, ...rest]) => tile(name, ...rest));
  const parts = h('div', {});
  const list = h('ol', { class: 'latest' });
  const none = h('p', { class: 'none' }, t('now.latest.none'));
  const seen = { points: [], banner: '' };

  const draw = ({ status, point, restored, skipped }) => {
    const latest = { ...NOTHING, ...point, waiting: status.queue?.due ?? null };
    seen.points = [...seen.points, latest].slice(-POINTS);
    for (const one of tiles) one.draw(status, seen.points);
    show(parts, states(status));
    // Said once, not every second.
    const key = JSON.stringify([status.chat, status.chat_resync]);
    if (key !== seen.banner) show(warning, banner(status));
    seen.banner = key;
    show(connection, status.draining && hint(t('now.draining')));
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
    lost: () => show(connection, hint(t('now.lost'))),
  });

  return {
    title: t('now.title'),
    nodes: [
      warning, connection,
      h('section', { class: 'tiles', 'aria-label': t('now.pictures') }, tiles.map((one) => one.node)),
      h('div', { class: 'columns' },
        h('section', { class: 'card' }, h('h2', {}, t('now.latest')), none, list),
        h('section', { class: 'card' }, h('h2', {}, t('now.states')), parts)),
      h('p', { class: 'hint' }, t('now.lead')),
    ],
  };
}

function tile(name, value, words, below) {
  const label = t(`now.${name}`);
  const figure = h('p', { class: 'figure' }, '–');
  const under = h('p', { class: 'under' });
  const place = h('div', {}, spark([], label));
  return {
    node: h('figure', { class: 'tile', data: { testid: `now-${name}` } }, h('figcaption', {}, label), figure, under, place),
    draw(status, points) {
      const values = points.map((point) => value(point) ?? null);
      const now = values.at(-1);
      const top = Math.max(0, ...values.filter((one) => one !== null));
      figure.textContent = now === null ? '–' : words(now);
      under.textContent = below(status, points.at(-1));
      const limit = name === 'calls' ? budget(status)?.per_second : undefined;
      show(place, spark(values, t('now.spark', { label, now: figure.textContent, top: words(top) }), limit));
    },
  };
}

const restoration = (one) => h('li', {},
  time(one.at),
  h('span', { class: 'whom' },
    h('a', { href: address('why', { group: one.group, account: one.account }) }, one.account),
    h('small', {}, one.group)),
  h('span', { class: 'delay' }, one.marks.length ? marks(one.marks) : t('now.removed'), ' ', t('now.after', { delay: span(one.delay_seconds) })));

const more = (n) => h('li', { class: 'none' }, h('span', {}, t('now.latest.skipped', { n })));

// Listens until the page is left.
function watch({ signal, past, now, lost }) {
  const source = new EventSource('/console/events');
  const end = () => source.close();
  signal.addEventListener('abort', end);
  source.addEventListener('past', (event) => past(JSON.parse(event.data)));
  source.addEventListener('now', (event) => now(JSON.parse(event.data)));
  source.addEventListener('error', async () => {
    lost();
    if (source.readyState !== EventSource.CLOSED || signal.aborted) return;
    signal.removeEventListener('abort', end);
    // Whoever is not signed in any more is sent to the door by this answer.
    await get('/v1/rooms', { limit: 1 }, { signal }).catch(() => {});
    setTimeout(() => signal.aborted || watch({ signal, past, now, lost }), ASK_AGAIN);
  });
}
