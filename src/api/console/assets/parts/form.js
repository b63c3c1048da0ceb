// Forms: labelled fields, each with its hint and with what the service found wrong in it.

import { h, show, uniqueId } from '../dom.js';
import { language, t } from '../i18n.js';

// A field around an input: { node, input, wrong(text) }.
export function field(label, input, { hint, wide } = {}) {
  const id = uniqueId('field');
  const [hintId, wrongId] = [`${id}-hint`, `${id}-wrong`];
  const wrong = h('p', { class: 'wrong', id: wrongId });
  input.id = id;
  input.setAttribute('aria-describedby', hint ? `${hintId} ${wrongId}` : wrongId);
  return {
    input,
    node: h('div', { class: wide ? 'field wide' : 'field' },
      h('label', { for: id }, label), input,
      hint && h('p', { class: 'hint', id: hintId }, hint), wrong),
    wrong(text) {
      show(wrong, text && h('span', { lang: language() === 'en' ? null : 'en' }, text));
      if (text) input.setAttribute('aria-invalid', 'true');
      else input.removeAttribute('aria-invalid');
    },
  };
}

export const textInput = (name, value, more = {}) =>
  h('input', { type: 'text', name, value: value ?? '', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', ...more });

export function select(name, value, options) {
  const input = h('select', { name }, options.map(([key, words]) => h('option', { value: key }, words)));
  input.value = value ?? '';
  return input;
}

export function check(label, name, checked) {
  const input = h('input', { type: 'checkbox', name });
  input.checked = checked;
  return { input, node: h('label', { class: 'check' }, input, h('span', {}, label)) };
}

export function radios(legend, name, value, options) {
  const inputs = options.map(([key, words, hint]) => {
    const input = h('input', { type: 'radio', name, value: key });
    input.checked = key === value;
    return { input, node: h('label', { class: 'check' }, input, h('span', {}, words, hint && h('small', {}, hint))) };
  });
  return {
    node: h('fieldset', { class: 'choice' }, h('legend', {}, legend), inputs.map((one) => one.node)),
    value: () => inputs.find((one) => one.input.checked)?.input.value,
  };
}

// Puts each error of a problem beside its field, moves the focus to the first, and gives back those
// that belong to none. `fields` are by the first part of the pointer.
export function showErrors(problem, fields) {
  for (const one of Object.values(fields)) one.wrong(null);
  const found = {};
  const others = [];
  for (const error of problem?.errors ?? []) {
    const name = error.pointer?.split('/')[1] ?? error.parameter;
    if (fields[name]) (found[name] ??= []).push(error.detail);
    else others.push(error);
  }
  for (const [name, details] of Object.entries(found)) fields[name].wrong(details.join('; '));
  Object.keys(fields).find((name) => found[name] && (fields[name].input.focus(), true));
  return others;
}

// A form that filters a list: what it says becomes the query of the address.
export function filterForm(label, route, fields, query) {
  const apply = (event) => {
    event.preventDefault();
    const given = Object.entries(fields).map(([name, one]) => [name, one.input.value.trim()]);
    go(route, Object.fromEntries(given));
  };
  for (const [name, one] of Object.entries(fields)) one.input.value = query[name] ?? one.input.value ?? '';
  const clear = () => {
    for (const one of Object.values(fields)) one.input.value = '';
    go(route, {});
  };
  return h('form', { class: 'filters', role: 'search', 'aria-label': label, on: { submit: apply } },
    Object.values(fields).map((one) => one.node),
    h('div', { class: 'actions' },
      h('button', { type: 'submit' }, t('filter.apply')),
      h('button', { type: 'button', class: 'quiet', on: { click: clear } }, t('filter.clear'))));
}

// The address of a page with a query.
export function address(route, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== '' && value !== null && value !== undefined);
  return given.length ? `#/${route}?${new URLSearchParams(given)}` : `#/${route}`;
}

export function go(route, query) {
  location.hash = address(route, query);
}
