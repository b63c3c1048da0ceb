// Starts the console: asks who is signed in, builds the frame, and shows the page that the address
// names. A page is a function of its place that gives back { title, nodes, update? }; `update` takes
// a new query without a new page. Its `signal` is aborted when the page is left.

import { get, onSignedOut, write } from './api.js';
import { h, show } from './dom.js';
import { choose, language, locale, t } from './i18n.js';
import { notices } from './parts/notice.js';
import { icon } from './parts/icon.js';
import { importPage } from './pages/import.js';
import { historyPage } from './pages/history.js';
import { membersPage } from './pages/members.js';
import { nowPage } from './pages/now.js';
import { roomsPage } from './pages/rooms.js';
import { rulePage } from './pages/rule.js';
import { rulesPage } from './pages/rules.js';
import { signInPage } from './pages/sign-in.js';
import { whyPage } from './pages/why.js';

const PAGES = [
  [/^\/now$/, nowPage],
  [/^\/rules$/, rulesPage],
  [/^\/rules\/new$/, rulePage],
  [/^\/rules\/([^/]+)\/history$/, historyPage],
  // A rule may be called "new": its own address has one more part.
  [/^\/rules\/([^/]+)\/edit$/, rulePage],
  [/^\/import$/, importPage],
  [/^\/why$/, whyPage],
  [/^\/rooms$/, roomsPage],
  [/^\/members$/, membersPage],
];
const TABS = ['now', 'rules', 'import', 'why', 'rooms', 'members'];

const app = document.getElementById('app');
let who = null;
let main = null;
let shown = { path: null, page: null, leave: new AbortController() };

function place() {
  const [path, query = ''] = location.hash.replace(/^#/, '').split('?');
  return { path: path || '/now', query: Object.fromEntries(new URLSearchParams(query)) };
}

function frame() {
  main = h('main', { id: 'main' });
  const tab = (name) => h('a', { href: `#/${name}`, data: { tab: name } }, icon(name), h('span', {}, t(`nav.${name}`)));
  show(
    app,
    h('a', { class: 'skip', href: '#main', on: { click: skip } }, t('nav.skip')),
    h('header', { class: 'top' },
      h('a', { class: 'brand', href: '#/now' }, icon('brand'), 'Stickymark'),
      who.signed_in && h('nav', { 'aria-label': t('nav.label') }, TABS.map(tab),
        who.stage && h('a', { href: '/stage' }, icon('stage'), h('span', {}, t('nav.stage')))),
      h('div', { class: 'corner' }, languages(), who.sign_in_needed && who.signed_in && account())),
    main,
    notices(),
    h('footer', {}, `Stickymark ${who.version}`),
  );
}

// The address names the page, so the link to its content moves the focus by hand.
function skip(event) {
  event.preventDefault();
  main.querySelector('h1')?.focus();
}

function languages() {
  const next = language() === 'zh' ? 'en' : 'zh';
  const turn = () => {
    choose(next);
    start();
  };
  return h('button', { type: 'button', class: 'quiet', lang: next, on: { click: turn } }, next === 'zh' ? '中文' : 'English');
}

function account() {
  const leave = async () => {
    await write('DELETE', '/console/session');
    await start();
  };
  return h('div', { class: 'account' },
    h('span', { class: 'who' }, who.name, ' ', h('span', { class: 'role' }, t(`role.${who.role}`))),
    h('button', { type: 'button', class: 'quiet', on: { click: leave } }, t('sign.out')));
}

function render({ fresh = false } = {}) {
  const { path, query } = place();
  if (!fresh && path === shown.path && shown.page?.update) {
    shown.page.update(query);
    return;
  }
  shown.leave.abort();
  const leave = new AbortController();
  const first = shown.path === null;
  const context = { query, who, signal: leave.signal, canWrite: who.role === 'editor' };
  shown = { path, leave, page: who.signed_in ? find(path, context) : signInPage(start) };
  document.title = `${shown.page.title} · Stickymark`;
  const heading = h('h1', { tabindex: '-1' }, shown.page.title);
  show(main, shown.page.bare ? null : heading, shown.page.nodes);
  for (const link of app.querySelectorAll('[data-tab]')) {
    const here = path === `/${link.dataset.tab}` || path.startsWith(`/${link.dataset.tab}/`);
    if (here) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
    if (here) link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }
  // Readers of the screen hear where they are; whoever just came starts at the top anyway.
  if (!first && who.signed_in) heading.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function find(path, context) {
  for (const [pattern, page] of PAGES) {
    const match = pattern.exec(path);
    if (match) return page({ ...context, id: match[1] && decoded(match[1]) });
  }
  return { title: t('lost.title'), nodes: [h('p', {}, t('lost.text')), h('p', {}, h('a', { href: '#/now' }, t('nav.now')))] };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function start() {
  document.documentElement.lang = locale();
  who = await get('/console/session').catch((error) => ({
    signed_in: false, sign_in_needed: true, version: '', refused: error.problem?.detail,
  }));
  frame();
  render({ fresh: true });
}

onSignedOut(() => {
  if (who?.signed_in) start();
});
window.addEventListener('hashchange', () => render());
window.addEventListener('reload-page', () => render({ fresh: true }));
start();
