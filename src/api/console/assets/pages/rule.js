// One rule: a new one, or a change of exactly the version that was opened.

import { go, rulePage as ruleAddress } from '../address.js';
import { ApiError, get, ifVersion, rulePath, write } from '../api.js';
import { h, show } from '../dom.js';
import { fromLocalInput, time, toLocalInput } from '../format.js';
import { t } from '../i18n.js';
import { copyButton } from '../parts/copy.js';
import { confirm } from '../parts/dialog.js';
import { diff } from '../parts/diff.js';
import { draft } from '../parts/draft.js';
import { check, field, showErrors, textInput } from '../parts/form.js';
import { failure, hint, load, notify } from '../parts/notice.js';
import { explained, isStrange, listed, marks } from '../parts/marks.js';
import { say } from '../parts/say.js';
import { viewerHint, writeButton } from '../parts/write.js';
import { remove } from './rules.js';

const PLAIN = { group: '', account: '', marks: [], enabled: true, starts_at: null, ends_at: null, label: '', note: '' };

export function rulePage({ id, canWrite, signal, query }) {
  const place = h('div', {});
  if (id === undefined) {
    show(place, editor({ ...PLAIN, ...query, marks: [] }, canWrite));
    return { title: t('rule.new'), nodes: [viewerHint(canWrite), place] };
  }
  load(place, get(rulePath(id), {}, { signal }), (rule) => editor(rule, canWrite), (error) =>
    (error.kind === 'not-found' ? gone(id) : failure(error)));
  return { title: t('rule.title', { id }), nodes: [viewerHint(canWrite), place] };
}

const gone = (id) => [hint(t('rule.gone'), 'rest'),
  h('p', {}, h('a', { href: ruleAddress(id, 'history') }, t('rule.history.of.gone')))];

function fieldsOf(rule, isNew) {
  const local = { type: 'datetime-local', step: '1' };
  return {
    ...(isNew && { id: field(t('rule.field.id'), textInput('id', rule.id), { hint: t('rule.hint.id'), wide: true }) }),
    group: field(t('rule.field.group'), textInput('group', rule.group, { required: true }), { hint: t('rule.hint.group') }),
    account: field(t('rule.field.account'), textInput('account', rule.account, { required: true }), { hint: t('rule.hint.account') }),
    marks: marksField(rule),
    label: field(t('rule.field.label'), textInput('label', rule.label), { hint: t('rule.hint.label') }),
    starts_at: field(t('rule.field.starts_at'), textInput('starts_at', toLocalInput(rule.starts_at), local), { hint: t('rule.hint.starts') }),
    ends_at: field(t('rule.field.ends_at'), textInput('ends_at', toLocalInput(rule.ends_at), local), { hint: t('rule.hint.ends') }),
    note: field(t('rule.field.note'), h('textarea', { name: 'note', rows: '2' }, rule.note), { wide: true }),
  };
}

// The marks, and below them what the typed ones mean.
function marksField(rule) {
  const input = textInput('marks', rule.marks.join(', '), { required: true, inputmode: 'text' });
  const meanings = h('span', {});
  const explain = () => {
    const typed = numbersOf(input.value).filter((one) => typeof one === 'number');
    const own = typed.filter(explained).map((one) => `${one}: ${explained(one)}`);
    const named = listed(typed);
    show(meanings, own.map((one) => [h('br'), one]), /[^\d, ]/.test(named) && [h('br'), named]);
  };
  input.addEventListener('input', explain);
  explain();
  return field(t('rule.field.marks'), input, { hint: [t('rule.hint.marks'), meanings] });
}

// Marks that are not numbers are sent unchanged, and the service says what is wrong with them.
const numbersOf = (text) => text.split(/[\s,，、;]+/).filter(Boolean).map((one) => (/^\d+$/.test(one) ? Number(one) : one));

// The id of a rule for this room and account, if the form gives none.
const proposed = (group, account) => `${group}-${account}`.replaceAll('*', '').replace(/[^A-Za-z0-9._-]+/g, '-').replace(/-{2,}/g, '-').replace(/^[-.]+|[-.]+$/g, '').slice(0, 64);

// The form as the API takes it. A time that was not changed keeps its fraction of a second.
function read(fields, enabled, rule) {
  const text = (name) => fields[name].input.value.trim();
  const moment = (name) => (text(name) === toLocalInput(rule[name]) ? rule[name] : fromLocalInput(text(name)));
  const id = fields.id && (text('id') || fields.id.input.placeholder);
  return {
    ...(id && { id }),
    group: text('group'), account: text('account'), marks: numbersOf(text('marks')), enabled: enabled.input.checked,
    starts_at: moment('starts_at'), ends_at: moment('ends_at'), label: text('label'), note: fields.note.input.value,
  };
}

// Another enabled rule that requires the same.
async function sameAs({ id, group, account, marks: wanted }) {
  const found = await get('/v1/rules', { group, account, enabled: true, limit: 500 }).catch(() => ({ items: [] }));
  const same = (one) => one.id !== id && one.marks.length === wanted.length && one.marks.every((mark) => wanted.includes(mark));
  return found.items.find(same);
}

function editor(rule, canWrite) {
  const isNew = rule.version === undefined;
  const fields = fieldsOf(rule, isNew);
  const enabled = check(t('rule.field.enabled'), 'enabled', rule.enabled);
  const problem = h('div', { class: 'problem' });
  const leave = () => {
    unsaved.forget();
    go('rules');
  };
  const discard = () => {
    unsaved.forget();
    window.dispatchEvent(new Event('reload-page'));
  };
  const save = async () => {
    show(problem);
    const value = read(fields, enabled, opened);
    const strange = value.marks.filter((one) => typeof one === 'number' && isStrange(one) && !rule.marks.includes(one));
    if (strange.length && !(await confirm(t('rule.strange.title', { marks: strange.join(', '), n: strange.length }), [t('rule.strange.text')], t('rule.save'), { kind: '' }))) return;
    try {
      const saved = isNew
        ? await write('POST', '/v1/rules', value)
        : await write('PUT', rulePath(rule.id), value, ifVersion(version));
      const twin = isNew && await sameAs(saved);
      const words = t(isNew ? 'rule.now.created' : 'rule.now.saved', { id: saved.id });
      if (twin) notify(`${words} ${t('rule.twin', { id: twin.id })}`, 'warn');
      else notify(words);
      leave();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      await explain(error, value);
    }
  };
  const explain = async (error, value) => {
    const others = showErrors(error.problem, fields);
    if (error.kind === 'precondition-failed') {
      const agreed = (current) => {
        version = current;
        show(problem);
        return save();
      };
      await load(problem, get(rulePath(rule.id)), (current) => stale(opened, current, value, agreed, discard));
    } else if (error.kind === 'rule-exists') {
      fields.id.wrong(say(error.problem));
      fields.id.input.focus();
    } else if (error.kind !== 'invalid-input' || others.length) {
      show(problem, failure(error), error.kind === 'mark-limit-exceeded' && clash(error.problem, value.id ?? rule.id));
    }
  };
  const form = h('form', { class: 'card', novalidate: true, on: { submit: (event) => event.preventDefault() } },
    h('fieldset', { class: 'plain', disabled: !canWrite },
      h('legend', { class: 'sr' }, t('rule.fields')),
      h('div', { class: 'grid' }, Object.values(fields).map((one) => one.node)), enabled.node),
    problem,
    h('div', { class: 'actions' },
      writeButton(canWrite, t('rule.save'), save, { type: 'submit' }),
      h('button', { type: 'button', class: 'quiet', on: { click: leave } }, t('rule.cancel')),
      !isNew && h('span', { class: 'push' }),
      !isNew && writeButton(canWrite, t('rule.delete'), () => remove(rule, leave), { kind: 'quiet harsh' })));
  if (isNew) {
    const propose = () => {
      fields.id.input.placeholder = proposed(fields.group.input.value.trim(), fields.account.input.value.trim());
    };
    form.addEventListener('input', propose);
    queueMicrotask(propose);
  }
  const unsaved = draft(isNew ? 'new-rule' : `rule-${rule.id}`, form, rule);
  // Restored input belongs to the version it began with: later changes become a conflict.
  const opened = unsaved.base;
  let { version } = opened;
  return [
    !isNew && facts(rule),
    unsaved.restored && hint([t('draft.restored'), ' ', h('button', { type: 'button', class: 'quiet small', on: { click: discard } }, t('draft.discard'))], 'rest'),
    form,
  ];
}

const facts = (rule) => h('p', { class: 'facts' },
  copyButton(rule.id), ' ',
  t('rule.version', { version: rule.version }), ' · ', t('rule.created'), ' ', time(rule.created_at), ' · ',
  t('rule.updated'), ' ', time(rule.updated_at), ' · ',
  h('a', { href: ruleAddress(rule.id, 'history') }, t('rule.history')));

// The rule was changed by someone else: what they changed, and what saving would change now.
const stale = (opened, current, mine, overwrite, discard) => h('div', { class: 'note warn block', role: 'alert' },
  h('h2', {}, t('rule.stale.title')),
  h('p', {}, t('rule.stale.text')),
  h('h3', {}, t('rule.stale.theirs')), diff(opened, current),
  h('h3', {}, t('rule.stale.mine')), diff(current, { ...current, ...mine }),
  h('div', { class: 'actions' },
    h('button', { type: 'button', on: { click: () => overwrite(current.version) } }, t('rule.stale.over')),
    h('button', { type: 'button', class: 'quiet', on: { click: discard } }, t('rule.stale.take'))));

// The rules that together require too many marks. Links open a tab of their own: the form stays.
const clash = (problem, own) => h('dl', { class: 'facts-list' },
  h('div', {}, h('dt', {}, t('clash.group')), h('dd', {}, h('code', {}, problem.group))),
  h('div', {}, h('dt', {}, t('clash.marks')), h('dd', {}, marks(problem.marks))),
  h('div', {}, h('dt', {}, t('clash.rules')), h('dd', {}, h('ul', { class: 'inline' }, problem.rules.map((id) =>
    h('li', {}, id === own ? id : h('a', { href: ruleAddress(id), target: '_blank' }, id)))))));
