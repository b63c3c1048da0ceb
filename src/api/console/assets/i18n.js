// The words of the page, in the language of the browser or the one chosen.

import en from './words/en.js';
import enLive from './words/en-live.js';
import zh from './words/zh.js';
import zhLive from './words/zh-live.js';

const WORDS = { en: { ...en, ...enLive }, zh: { ...zh, ...zhLive } };
const KEPT_AS = 'stickymark-language';

function preferred() {
  try {
    const kept = localStorage.getItem(KEPT_AS);
    if (kept in WORDS) return kept;
  } catch {
    // No storage: the browser's language it is.
  }
  const first = navigator.languages.find((one) => one.slice(0, 2).toLowerCase() in WORDS);
  return (first ?? 'en').slice(0, 2).toLowerCase();
}

let current = preferred();

export const language = () => current;
export const locale = () => (current === 'zh' ? 'zh-CN' : 'en-GB');

export function choose(next) {
  current = next;
  try {
    localStorage.setItem(KEPT_AS, next);
  } catch {
    // It holds for this visit then.
  }
}

// The words of a key with `{name}` replaced. Where a language tells one from many, the key has two
// forms and `n` decides.
export function t(key, values = {}) {
  const found = WORDS[current][key] ?? WORDS.en[key] ?? key;
  const text = typeof found === 'string'
    ? found
    : found[new Intl.PluralRules(locale()).select(values.n)] ?? found.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    name in values ? shown(values[name]) : whole);
}

const shown = (value) => (typeof value === 'number' ? new Intl.NumberFormat(locale()).format(value) : value);

// Whether a key has words.
export const has = (key) => key in WORDS.en;
