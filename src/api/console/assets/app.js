// Starts the console: reads the session, builds the frame, and shows the page that the address
// names. A page is a function of its context that returns { title, nodes, update? }; `update` takes
// a new query without building the page again. Its `signal` is aborted when the page is left.

import { get, onSignedOut, write } from './api.js';
import { h, show } from './dom.js';
import { choose, language, locale, t } from './i18n.js';
import { forgetDrafts } from './parts/draft.js';
import { icon } from './parts/icon.js';
import { readNames } from './parts/marks.js';
import { failure, hint, notices } from './parts/notice.js';
import { explainPage } from './pages/explain.js';
import { historyPage } from './pages/history.js';
import { importPage } from './pages/import.js';
import { membersPage } from './pages/members.js';
import { overviewPage } from './pages/overview.js';
import { roomsPage } from './pages/rooms.js';
import { rulePage } from './pages/rule.js';
import { rulesPage } from './pages/rules.js';
import { signInPage } from './pages/sign-in.js';

const PAGES = [
  [/^\/overview$/, overviewPage],
  [/^\/rules$/, rulesPage],
  [/^\/rules\/new$/, rulePage],
  [/^\/rules\/([^/]+)\/history$/, historyPage],
  // The id of a rule may be "new", so its address has one more part.
  [/^\/rules\/([^/]+)\/edit$/, rulePage],
  [/^\/import$/, importPage],
  [/^\/explain$/, explainPage],
  [/^\/rooms$/, roomsPage],
  [/^\/members$/, membersPage],
];
// How often the frame looks whether something needs attention, in milliseconds.
const LOOK = 10000;
const TABS = ['overview', 'rules', 'import', 'explain', 'rooms', 'members'];

const app = document.getElementById('app');
let who = null;
let main = null;
let shown = { path: null, page: null, leave: new AbortController() };

function place() {
  const [path, query = ''] = location.hash.replace(/^#/, '').split('?');
  return { path: path || '/overview', query: Object.fromEntries(new URLSearchParams(query)) };
}

function frame() {
  main = h('main', { id: 'main' });
  const tab = (name) => h('a', { href: `#/${name}`, data: { tab: name } }, icon(name), h('span', {}, t(`nav.${name}`)));
  show(
    app,
    h('a', { class: 'skip', href: '#main', on: { click: skip } }, t('nav.skip')),
    h('header', { class: 'top' },
      h('a', { class: 'brand', href: '#/overview' }, icon('brand'), 'Stickymark'),
      who.signed_in && h('nav', { 'aria-label': t('nav.label') }, TABS.map(tab),
        who.stage && h('a', { href: 'stage' }, icon('stage'), h('span', {}, t('nav.stage')))),
      h('div', { class: 'corner' }, languages(), who.sign_in_needed && who.signed_in && account())),
    main,
    notices(),
    h('footer', {}, `Stickymark ${who.version}`, ' · ', h('a', { href: 'docs/' }, t('nav.api'))),
  );
}

// The part of an address behind `#` names the page, so this link moves the focus itself.
function skip(event) {
  event.preventDefault();
  main.querySelector('h1')?.focus();
}

function languages() {
  const next = language() === 'zh' ? 'en' : 'zh';
  const turn = async () => {
    const filters = () => main.querySelectorAll('.filters [name]');
    const typed = new Map([...filters()].map((input) => [input.name, input.value]));
    choose(next);
    await start();
    for (const input of filters()) input.value = typed.get(input.name) ?? input.value;
  };
  return h('button', { type: 'button', class: 'quiet', lang: next, on: { click: turn } }, next === 'zh' ? '中文' : 'English');
}

function account() {
  const leave = async () => {
    await write('DELETE', '/console/session');
    forgetDrafts();
    await start();
  };
  return h('div', { class: 'account' },
    h('span', { class: 'who' }, who.name, ' ', h('span', { class: 'role' }, t(`role.${who.role}`))),
    h('button', { type: 'button', class: 'quiet', on: { click: leave } }, t('sign.out')));
}

function render({ fresh = false, expired = false } = {}) {
  const { path, query } = place();
  if (!fresh && path === shown.path && shown.page?.update) {
    shown.page.update(query);
    return;
  }
  shown.leave.abort();
  const leave = new AbortController();
  const first = shown.path === null;
  const context = { query, who, signal: leave.signal, canWrite: who.role === 'editor' };
  shown = { path, leave, page: who.signed_in ? find(path, context) : signInPage(start, expired ? hint(t('sign.expired')) : who.error && failure(who.error)) };
  document.title = `${shown.page.title} · Stickymark`;
  const heading = h('h1', { tabindex: '-1' }, shown.page.title);
  show(main, heading, shown.page.nodes);
  for (const link of app.querySelectorAll('[data-tab]')) {
    const here = path === `/${link.dataset.tab}` || path.startsWith(`/${link.dataset.tab}/`);
    if (here) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  // Screen readers read the heading of the new page; on the first page the focus is at the top anyway.
  if (!first && who.signed_in) heading.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function find(path, context) {
  for (const [pattern, page] of PAGES) {
    const match = pattern.exec(path);
    if (match) return page({ ...context, id: match[1] && decoded(match[1]) });
  }
  return { title: t('lost.title'), nodes: [h('p', {}, h('a', { href: '#/overview' }, t('lost.back')))] };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const session = () => get('/console/session').catch((error) => ({ signed_in: false, version: '', error }));

async function start({ expired } = {}) {
  document.documentElement.lang = locale();
  who = await session();
  const { path, query: { token } } = place();
  // The demo prints such an address. Elsewhere a link must not sign anyone in.
  if (who.stage && token) {
    history.replaceState(null, '', `#${path}`);
    await write('POST', '/console/session', { token }).catch(() => {});
    who = await session();
  }
  if (who.signed_in) await readNames();
  frame();
  render({ fresh: true, expired });
  look();
}

// Marks the tab of the overview while calls are paused or fail, members have failed, or the database is
// away.
async function look() {
  if (!who?.signed_in || document.hidden) return;
  const status = await get('/v1/status').catch(() => null);
  const tab = app.querySelector('[data-tab=overview]');
  if (!status || !tab) return;
  const fault = status.chat.paused || status.chat_resync.paused || status.queue?.failed > 0 || status.calls.failing_share > 0.5 || status.database !== 'ok';
  tab.querySelector('.fault')?.remove();
  if (fault) tab.append(h('span', { class: 'fault' }, h('span', { class: 'sr' }, t('overview.fault'))));
}
setInterval(look, LOOK);

onSignedOut(() => {
  if (who?.signed_in) start({ expired: true });
});
// Before the frame is built there is nothing to show a page in; start() shows it then.
window.addEventListener('hashchange', () => main && render());
window.addEventListener('reload-page', () => render({ fresh: true }));
start();
