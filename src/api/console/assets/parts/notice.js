// Messages of the page: notices in a corner, and failures in words.

import { ApiError } from '../api.js';
import { h, show } from '../dom.js';
import { sentence } from '../format.js';
import { has, language, t } from '../i18n.js';
import { icon } from './icon.js';
import { say } from './say.js';

const STAYS = 6000;
let place = null;

// The element that shows notices, one at a time; screen readers read it out politely.
export function notices() {
  place = h('div', { class: 'toast', role: 'status' });
  return place;
}

// Shows a notice. A failure stays until it is dismissed.
export function notify(text, tone = 'good') {
  const close = h('button', { type: 'button', class: 'quiet close', 'aria-label': t('notice.close'), on: { click: () => note.remove() } }, icon('bad'));
  const note = h('div', { class: `note ${tone}` }, icon(tone), h('div', {}, text), close);
  show(place, note);
  if (tone !== 'bad') setTimeout(() => note.remove(), STAYS);
}

// A failure in words. On a page in Chinese a general sentence comes first.
function explained(error) {
  const detail = error.problem?.detail;
  if (detail && language() === 'en') return h('p', {}, sentence(detail));
  const title = t(has(`problem.${error.kind}`) ? `problem.${error.kind}` : 'problem.internal');
  return [h('p', {}, title), detail && h('p', { class: 'detail' }, ...details(error.problem))];
}

// Each error of a problem, or the problem as a whole.
const details = (problem) => (problem.errors ?? [problem]).flatMap((one, at) => [at > 0 && '；', say(one)]);

export const failure = (error) =>
  h('div', { class: 'note bad', role: 'alert' }, icon('bad'), h('div', {}, explained(error)));

export const hint = (text, tone = 'warn') => h('div', { class: `note ${tone}` }, icon(tone), h('div', {}, h('p', {}, text)));

// Makes a change and gives notice of its result. `known` are messages for kinds of failures.
export async function attempt(change, done, known = {}) {
  try {
    const text = done(await change());
    if (text) notify(text);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    notify(known[error.kind] ?? explained(error), 'bad');
  }
}

const stops = (element) => [...element.querySelectorAll('a, button')];
const latest = new WeakMap();

// Shows what `build` makes of the answer, or what `failed` makes of a failure; a later load of the same
// element supersedes an earlier one. The focus keeps its place in the list, also when its row is gone.
export async function load(element, answer, build, failed = failure) {
  latest.set(element, answer);
  const superseded = () => latest.get(element) !== answer;
  element.setAttribute('aria-busy', 'true');
  try {
    const value = await answer;
    if (superseded()) return;
    const built = build(value);
    const focused = stops(element).indexOf(document.activeElement);
    show(element, built);
    if (focused >= 0) (stops(element)[focused] ?? stops(element).at(-1))?.focus({ preventScroll: true });
  } catch (error) {
    if (error.name === 'AbortError' || superseded()) return;
    if (!(error instanceof ApiError)) throw error;
    show(element, failed(error));
  } finally {
    if (!superseded()) element.removeAttribute('aria-busy');
  }
}
