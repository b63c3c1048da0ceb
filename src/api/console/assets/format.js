// Moments, spans and numbers for people.

import { h } from './dom.js';
import { locale, t } from './i18n.js';

const DAY = 86400;

// "14:03:07" today; on other days the date, with minutes.
export function moment(text) {
  const at = new Date(text);
  const sameDay = at.toDateString() === new Date().toDateString();
  const clock = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
  const date = { year: 'numeric', month: 'short', day: 'numeric' };
  return new Intl.DateTimeFormat(locale(), sameDay ? { ...clock, second: '2-digit' } : { ...date, ...clock }).format(at);
}

// A moment with its exact form at hand; a dash if there is none.
export const time = (text) =>
  text ? h('time', { datetime: text, title: text }, moment(text)) : '–';

// "3 minutes ago", "in 2 hours".
export function ago(text) {
  const seconds = (new Date(text) - Date.now()) / 1000;
  const [size, unit] = [[DAY, 'day'], [3600, 'hour'], [60, 'minute'], [1, 'second']]
    .find(([size]) => Math.abs(seconds) >= size) ?? [1, 'second'];
  return new Intl.RelativeTimeFormat(locale(), { numeric: 'auto' }).format(Math.round(seconds / size), unit);
}

// A span: "84 ms", "1.9 s", "3 min", "2.5 h".
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

// A rate: one digit behind the point while it is small.
export const rate = (value) => number(value, value !== null && value < 10 ? 1 : 0);

// The form that <input type="datetime-local"> takes, in local time, and back.
export function toLocalInput(text) {
  if (!text) return '';
  const at = new Date(text);
  return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

export const fromLocalInput = (text) => (text ? new Date(text).toISOString().replace('.000', '') : null);

// "a, b and c".
export const listed = (words) => new Intl.ListFormat(locale()).format(words);
