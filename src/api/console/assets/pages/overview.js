// The overview: figures, health and the latest restored members of the replica that answers, once a second.

import { explainPage } from '../address.js';
import { ApiError, get, write } from '../api.js';
import { h, show } from '../dom.js';
import { clock, hours, moment, number, rate, span } from '../format.js';
import { t } from '../i18n.js';
import { attempt, hint } from '../parts/notice.js';
import { chart } from '../parts/chart.js';
import { banner, states } from '../parts/states.js';
import { marks } from '../parts/marks.js';
import { writeButton } from '../parts/write.js';

const POINTS = 120;
// Seconds of a point of each range.
const RANGES = { short: 1, long: 30 };
const BEAT = 1000;
// Without an answer for this long the connection counts as lost.
const SILENCE = 5000;

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
    ask();
  };
  const figures = h('div', {},
    h('div', { class: 'bar' }, h('p', { class: 'lead' }, t('overview.lead')), ranges),
    h('section', { class: 'tiles', 'aria-label': t('overview.pictures') }, tiles.map((one) => one.node)),
    h('div', { class: 'columns' },
      h('section', { class: 'card' }, h('h2', {}, t('overview.states')), parts),
      h('section', { class: 'card' }, h('h2', {}, t('overview.latest')), none, list)));
  const seen = { banner: '', restored: '', at: null };

  const draw = ({ status, point, points, restored }, drawn) => {
    seen.at = new Date();
    const latest = { ...NOTHING, ...point, waiting: status.queue?.due ?? null };
    for (const one of tiles) one.draw(status, latest, points, RANGES[drawn]);
    show(parts, states(status));
    // An alert that is built again is read out again.
    const key = JSON.stringify([status.chat, status.chat_resync]);
    if (key !== seen.banner) show(warning, banner(status, h('div', { class: 'actions' }, probeButton(canWrite))));
    seen.banner = key;
    show(connection, status.draining && hint(t('overview.draining')));
    figures.classList.remove('outdated');
    // A list that is built again loses the focus.
    const news = JSON.stringify(restored);
    if (news !== seen.restored) show(list, restored.map(restoration));
    seen.restored = news;
    if (restored.length) none.remove();
  };
  const lost = () => {
    if (connection.querySelector('.lost')) return;
    figures.classList.add('outdated');
    show(connection, hint(h('span', { class: 'lost' }, t('overview.lost'), ' ',
      seen.at && t('overview.as.of', { when: moment(seen.at) }))));
  };
  const ask = async () => {
    const asked = range;
    const now = await get('/console/now', { range: asked }, { signal }).catch((error) => error instanceof ApiError && lost());
    if (now && asked === range && !signal.aborted) draw(now, asked);
  };
  watch(signal, ask, lost);

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

// After a repair one need not wait for the next try.
const probeButton = (canWrite) => writeButton(canWrite, t('overview.probe'), () =>
  attempt(() => write('POST', '/v1/chat/probe'), ({ outcome }) => t(`overview.probe.${outcome}`)));

const restoration = (one) => h('li', {},
  clock(one.at),
  h('span', { class: 'member-name' },
    h('a', { href: explainPage(one) }, one.account),
    h('small', {}, one.group)),
  h('span', { class: 'delay' }, one.marks.length ? marks(one.marks) : t('overview.removed'), ' ', h('span', { class: 'nowrap' }, t('overview.after', { delay: span(one.delay_seconds) }))));

// Asks again and again until the page is left.
async function watch(signal, ask, lost) {
  while (!signal.aborted) {
    const silence = setTimeout(lost, SILENCE);
    await ask();
    clearTimeout(silence);
    await new Promise((next) => { setTimeout(next, BEAT); });
  }
}
