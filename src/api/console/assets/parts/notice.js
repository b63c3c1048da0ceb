// What the page has to say: short news that go by themselves, and failures in words.

import { h, show } from '../dom.js';
import { has, language, t } from '../i18n.js';
import { icon } from './icon.js';

const STAYS = 6000;
let place = null;

// The corner where news appear; one for the whole page, read out politely.
export function notices() {
  place = h('div', { class: 'news', role: 'status', 'aria-live': 'polite' });
  return place;
}

export function tell(text, tone = 'good') {
  const note = h('p', { class: `note ${tone}` }, icon(tone), h('span', {}, text));
  place?.append(note);
  setTimeout(() => note.remove(), STAYS);
}

// A failure as a sentence in the reader's language, and the service's own words below.
export function failure(error) {
  const title = t(has(`problem.${error.kind}`) ? `problem.${error.kind}` : 'problem.internal');
  const detail = error.problem?.detail;
  return h('div', { class: 'note bad', role: 'alert' }, icon('bad'),
    h('div', {}, h('p', {}, title), detail && h('p', { class: 'detail', lang: language() === 'en' ? null : 'en' }, detail)));
}

export const hint = (text, tone = 'warn') => h('div', { class: `note ${tone}` }, icon(tone), h('div', {}, h('p', {}, text)));

// Shows what a promise brings in the element, or why it brought nothing.
export async function load(element, promise, build) {
  element.setAttribute('aria-busy', 'true');
  try {
    show(element, build(await promise));
  } catch (error) {
    if (error.name === 'AbortError') return;
    if (error.kind === undefined) throw error;
    show(element, failure(error));
  } finally {
    element.removeAttribute('aria-busy');
  }
}
