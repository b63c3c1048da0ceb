// The states of the parts of the service, each with a sign and words, and the banner for what only a
// person can mend.

import { h } from '../dom.js';
import { listed, moment, number } from '../format.js';
import { language, t } from '../i18n.js';
import ADVICE from '../words/advice.js';
import { address } from './form.js';
import { icon } from './icon.js';

const state = (tone, name, words, more) => h('div', { class: tone }, icon(tone), h('dt', {}, t(`now.state.${name}`)), h('dd', {}, words, more));

// All states of a status as `GET /v1/status` gives it.
export function states(status) {
  return h('dl', { class: 'states' }, database(status), chat(status), compare(status), filter(status), failed(status));
}

function database({ database }) {
  const tone = { ok: 'good', 'read-only': 'warn' }[database] ?? 'bad';
  return state(tone, 'database', t(`now.database.${database}`));
}

function chat({ chat }) {
  if (!chat.paused) return state('good', 'chat', t('now.chat.ok'));
  return state('bad', 'chat', t('now.chat.paused', { since: moment(chat.since) }));
}

function compare({ resync, chat_resync: pause }) {
  if (pause.paused) return state('bad', 'compare', t('now.chat.paused', { since: moment(pause.since) }));
  const found = ['missing', 'surplus', 'unheard', 'vanished'].filter((name) => resync.found[name] > 0);
  const more = [
    found.length > 0 && t('now.compare.found', { found: listed(found.map((name) => t(`drift.${name}`, { n: resync.found[name] }))) }),
    resync.failed > 0 && t('now.compare.failed', { n: resync.failed }),
  ].filter(Boolean);
  return state(resync.failed > 0 ? 'warn' : 'good', 'compare', t('now.compare.ok', { n: resync.rooms }), more.map((one) => ` · ${one}`));
}

function filter({ filter }) {
  if (!filter) return state('rest', 'filter', t('now.filter.none'));
  if (filter.bypassing) return state('warn', 'filter', t('now.filter.bypassing'));
  return state('good', 'filter', t('now.filter.ok', { n: filter.rules }));
}

function failed({ queue, failures }) {
  if (!queue) return state('rest', 'failed', t('now.unknown'));
  if (queue.failed === 0) return state('good', 'failed', t('now.failed.none'));
  return state('warn', 'failed', h('a', { href: address('members', { state: 'failed' }) }, t('now.failed.some', { n: queue.failed })),
    failures.slice(0, 2).map((one) => h('p', { lang: language() === 'en' ? null : 'en' }, `${number(one.members)} × ${one.reason}`)));
}

// The banner for a fault of configuration; null while there is none.
export function banner(status) {
  const [title, pause] = status.chat.paused
    ? ['now.banner.title', status.chat]
    : ['now.banner.compare', status.chat_resync];
  if (!pause.paused) return null;
  const code = /\b(\d{5})\b/.exec(pause.reason)?.[1];
  const own = language() === 'zh' && ADVICE[code];
  const foreign = language() === 'en' ? null : 'en';
  return h('div', { class: 'banner', role: 'alert' }, icon('bad'), h('div', {},
    h('h2', {}, t(title)),
    h('p', { lang: foreign }, pause.reason),
    own ? h('p', { class: 'advice' }, own) : pause.advice && h('p', { class: 'advice', lang: foreign }, sentence(pause.advice)),
    h('p', { class: 'hint' }, t('now.banner.nothing.lost'))));
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;
