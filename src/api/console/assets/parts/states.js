// The health of the parts of the service, each with an icon and words, and the banner for faults
// that only an operator can fix.

import { address } from '../address.js';
import { h } from '../dom.js';
import { listed, moment, number, serviceText, time } from '../format.js';
import { has, t } from '../i18n.js';
import { icon } from './icon.js';
import { advice, say } from './say.js';

export const DRIFT = ['missing', 'surplus', 'unheard', 'vanished'];

const state = (tone, name, ...words) => h('div', { class: tone }, icon(tone), h('dt', {}, t(`overview.state.${name}`)), h('dd', {}, words));

// All states of a status as `GET /v1/status` gives it.
export function states(status) {
  return h('dl', { class: 'states' }, callbacks(status), database(status), chat(status), retries(status), compare(status), filter(status), failed(status));
}

function callbacks({ callbacks }) {
  const { state: is, accepted, refused, refusals, other_paths: others } = callbacks;
  const tone = { ok: refused > 0 ? 'warn' : 'good', none: 'warn' }[is] ?? 'bad';
  return state(tone, 'callbacks', callbacks.last_at
    ? h('span', {}, t('overview.callbacks.last'), ' ', time(callbacks.last_at))
    : t('overview.callbacks.none', { since: moment(callbacks.since) }),
  refusals.slice(0, 2).map(({ requests, code, reason }) => h('p', {},
    t('overview.callbacks.refused', { n: requests, all: accepted + refused, minutes: callbacks.minutes }),
    has(`callback.${code}`) ? t(`callback.${code}`) : serviceText(reason))),
  is === 'other_path' && h('p', {}, t('overview.callbacks.path', { path: others.at(-1).path })));
}

function database({ database }) {
  const tone = { ok: 'good', 'read-only': 'warn' }[database] ?? 'bad';
  return state(tone, 'database', t(`overview.database.${database}`));
}

function chat({ chat, calls }) {
  if (!chat.paused && calls.failed > 0) {
    return state(calls.failing_share > 0.5 ? 'bad' : 'warn', 'chat', t('overview.chat.failing', { n: calls.failed, all: calls.calls }),
      calls.errors.slice(0, 2).map((one) => h('p', {}, `${number(one.calls)} × `, say(one.message))));
  }
  if (!chat.paused) return state('good', 'chat', t('overview.chat.ok'));
  return state('bad', 'chat', t('overview.chat.paused', { since: moment(chat.since) }));
}

// Members whose last call failed; they get their marks later than they should.
function retries({ queue, retries: reasons }) {
  if (!queue) return state('rest', 'retries', t('overview.unknown'));
  const members = reasons.reduce((sum, one) => sum + one.members, 0);
  if (members === 0) return state('good', 'retries', t('overview.failed.none'));
  return state('warn', 'retries', h('a', { href: address('members', { state: 'pending' }) }, t('overview.failed.some', { n: members })),
    reasons.slice(0, 2).map((one) => h('p', {}, `${number(one.members)} × `, say(one.message))));
}

function compare({ resync, queue, chat_resync: pause }) {
  if (pause.paused) return state('bad', 'compare', t('overview.chat.paused', { since: moment(pause.since) }));
  const found = DRIFT.filter((name) => resync.found[name] > 0);
  const failing = queue?.rooms_failing ?? 0;
  return state(failing > 0 ? 'warn' : 'good', 'compare', [
    t('overview.compare.ok', { n: resync.rooms }),
    found.length > 0 && t('overview.compare.found', { found: listed(found.map((name) => t(`drift.${name}`, { n: resync.found[name] }))) }),
    failing > 0 && t('overview.compare.failed', { n: failing }),
  ].filter(Boolean).join(' · '));
}

function filter({ filter }) {
  if (!filter) return state('rest', 'filter', t('overview.filter.none'));
  if (filter.bypassing) return state('warn', 'filter', t('overview.filter.bypassing'));
  return state('good', 'filter', t('overview.filter.ok', { n: filter.rules }));
}

function failed({ queue, failures }) {
  if (!queue) return state('rest', 'failed', t('overview.unknown'));
  if (queue.failed === 0) return state('good', 'failed', t('overview.failed.none'));
  return state('warn', 'failed', h('a', { href: address('members', { state: 'failed' }) }, t('overview.failed.some', { n: queue.failed })),
    failures.slice(0, 2).map((one) => h('p', {}, `${number(one.members)} × `, say(one.message))));
}

// The banner for a fault of configuration, with the buttons `actions`; null while there is none.
export function banner(status, actions) {
  const [title, pause] = status.chat.paused
    ? ['overview.banner.title', status.chat]
    : ['overview.banner.compare', status.chat_resync];
  if (!pause.paused) return null;
  return h('div', { class: 'banner', role: 'alert' }, icon('bad'), h('div', {},
    h('h2', {}, t(title)),
    h('p', {}, say(pause.message)),
    h('p', { class: 'advice' }, advice(pause.message, pause.advice)),
    h('p', { class: 'hint' }, t('overview.banner.nothing.lost')),
    actions));
}
