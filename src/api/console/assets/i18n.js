// The texts of the page, in the language of the browser or the one that was chosen.

import en from './words/en.js';
import zh from './words/zh.js';

const WORDS = { en, zh };
const KEPT_AS = 'stickymark-language';

function preferred() {
  try {
    const kept = localStorage.getItem(KEPT_AS);
    if (kept in WORDS) return kept;
  } catch {
    // Without storage, the language of the browser decides.
  }
  const first = navigator.languages.find((one) => one.slice(0, 2).toLowerCase() in WORDS);
  return (first ?? 'en').slice(0, 2).toLowerCase();
}

let current = preferred();

export const language = () => current;
export const locale = () => (current === 'zh' ? 'zh-CN' : 'en-GB');
// The `lang` attribute of texts that the service gives in English; none on an English page.
export const serviceLanguage = () => (current === 'en' ? null : 'en');

export function choose(next) {
  current = next;
  try {
    localStorage.setItem(KEPT_AS, next);
  } catch {
    // Without storage, the choice lasts until the page is closed.
  }
}

// The text of a key with `{name}` replaced. A text with a plural has several forms; `n` selects one.
export function t(key, values = {}) {
  const found = WORDS[current][key];
  // The browser tests fail on every message of the console.
  if (found === undefined) console.error(`no text for ${key}`);
  const text = typeof found === 'object'
    ? found[new Intl.PluralRules(locale()).select(values.n)] ?? found.other
    : found ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    name in values ? shown(values[name]) : whole);
}

const shown = (value) => (typeof value === 'number' ? new Intl.NumberFormat(locale()).format(value) : value);

export const has = (key) => key in WORDS.en;
