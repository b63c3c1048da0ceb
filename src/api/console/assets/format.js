// Times, durations and numbers for people.

import { h } from './dom.js';
import { language, locale, serviceLanguage, t } from './i18n.js';

const UNITS = [[86400, 'day'], [3600, 'hour'], [60, 'minute'], [1, 'second']];
const REFRESH = 5000;

// "14:03:07" today; on other days the date, with minutes.
export function moment(text) {
  const at = new Date(text);
  const sameDay = at.toDateString() === new Date().toDateString();
  const clock = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
  const date = { year: 'numeric', month: 'short', day: 'numeric' };
  return new Intl.DateTimeFormat(locale(), sameDay ? { ...clock, second: '2-digit' } : { ...date, ...clock }).format(at);
}

// "14:03:07", on the axis of a chart.
export const hours = (at) => new Intl.DateTimeFormat(locale(), { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }).format(at);

const exact = (text) => new Intl.DateTimeFormat(locale(), { dateStyle: 'medium', timeStyle: 'long' }).format(new Date(text));

// The clock time of one of several events in order; local time with its zone on hover.
export const clock = (text) => h('time', { datetime: text, title: exact(text) }, moment(text));

// A relative time that stays current, exact on hover; a dash if there is none.
export const time = (text) => (text
  ? h('time', { datetime: text, title: exact(text), data: { relative: '' } }, ago(text))
  : '–');

setInterval(() => {
  for (const one of document.querySelectorAll('time[data-relative]')) one.textContent = ago(one.dateTime);
}, REFRESH);

// "3 minutes ago", "in 2 hours".
export function ago(text) {
  const seconds = (new Date(text) - Date.now()) / 1000;
  const [size, unit] = UNITS.find(([size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  return new Intl.RelativeTimeFormat(locale(), { numeric: 'auto' }).format(Math.round(seconds / size), unit);
}

// A duration: "84 ms", "1.9 s", "3 min", "2.5 h".
export function span(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 1) return t('span.ms', { value: number(seconds * 1000, 0) });
  if (seconds < 120) return t('span.s', { value: number(seconds, seconds < 10 ? 1 : 0) });
  if (seconds < 7200) return t('span.min', { value: number(seconds / 60, 0) });
  return t('span.h', { value: number(seconds / 3600, 1) });
}

export function number(value, digits = 0) {
  if (value === null || value === undefined) return '–';
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value);
}

// A rate: one decimal while it is small.
export const rate = (value) => number(value, value !== null && value < 10 ? 1 : 0);

// Local time as <input type="datetime-local"> takes it, and back.
export function toLocalInput(text) {
  if (!text) return '';
  const at = new Date(text);
  return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

export const fromLocalInput = (text) => (text ? new Date(text).toISOString().replace('.000', '') : null);

// "a, b and c". The Chinese form of Intl ends in 和 without a space before a digit.
export const listed = (words) => (language() === 'zh' ? words.join('、') : new Intl.ListFormat(locale()).format(words));

// A text of the service, which is in English.
export const serviceText = (text) => h('span', { lang: serviceLanguage() }, text);

// The same as a sentence.
export const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
