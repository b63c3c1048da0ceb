// Forms: labelled fields, each with its hint and the errors that the service found in it.

import { h, show, uniqueId } from '../dom.js';
import { t } from '../i18n.js';
import { go } from '../address.js';
import { say } from './say.js';

// A field around an input: { node, input, wrong(text) }. An error disappears when the input changes.
export function field(label, input, { hint, wide } = {}) {
  const id = uniqueId('field');
  const [hintId, wrongId] = [`${id}-hint`, `${id}-wrong`];
  const wrong = h('p', { class: 'wrong', id: wrongId });
  const set = (text) => {
    show(wrong, text);
    if (text) input.setAttribute('aria-invalid', 'true');
    else input.removeAttribute('aria-invalid');
  };
  input.id = id;
  input.setAttribute('aria-describedby', hint ? `${hintId} ${wrongId}` : wrongId);
  input.addEventListener('input', () => set(null));
  return {
    input,
    node: h('div', { class: wide ? 'field wide' : 'field' },
      h('label', { for: id }, label), input,
      hint && h('p', { class: 'hint', id: hintId }, hint), wrong),
    wrong: set,
  };
}

export const textInput = (name, value, more = {}) =>
  h('input', { type: 'text', name, value: value ?? '', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', ...more });

export const select = (name, options) =>
  h('select', { name }, options.map(([key, words]) => h('option', { value: key }, words)));

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

// Puts each error of a problem beside its field, moves the focus to the first, and returns those
// that belong to no field. `fields` are by the first part of the pointer.
export function showErrors(problem, fields) {
  const found = {};
  const others = [];
  for (const error of problem?.errors ?? []) {
    const name = error.pointer?.split('/')[1] ?? error.parameter;
    if (fields[name]) (found[name] ??= []).push(error);
    else others.push(error);
  }
  for (const [name, one] of Object.entries(fields)) one.wrong(found[name]?.flatMap((error, at) => [at > 0 && '; ', say(error)]));
  Object.keys(fields).find((name) => found[name] && (fields[name].input.focus(), true));
  return others;
}

// A form that filters a list: its values become the query of the address.
export function filterForm(label, page, fields) {
  const apply = (event) => {
    event.preventDefault();
    const given = Object.entries(fields).map(([name, one]) => [name, one.input.value.trim()]);
    go(page, Object.fromEntries(given));
  };
  const clear = () => {
    for (const one of Object.values(fields)) one.input.value = '';
    go(page);
  };
  return h('form', { class: 'filters', role: 'search', 'aria-label': label, on: { submit: apply } },
    Object.values(fields).map((one) => one.node),
    h('div', { class: 'actions' },
      h('button', { type: 'submit' }, t('filter.apply')),
      h('button', { type: 'button', class: 'quiet', on: { click: clear } }, t('filter.clear'))));
}
