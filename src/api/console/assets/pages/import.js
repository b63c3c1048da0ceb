// Importing many rules: first a preview, then the import. Only what the preview shows can be applied:
// every change of the form discards it.

import { importRules } from '../api.js';
import { h, show } from '../dom.js';
import { t } from '../i18n.js';
import { changes, summary } from '../parts/changes.js';
import { draft } from '../parts/draft.js';
import { field, radios, textInput } from '../parts/form.js';
import { failure, hint, load } from '../parts/notice.js';
import { say } from '../parts/say.js';
import { viewerHint, writeButton } from '../parts/write.js';

// Errors beyond these are counted, not shown.
const SHOWN = 200;

export function importPage({ canWrite }) {
  const chosen = h('span', { class: 'none' }, t('import.file.none'));
  const file = field(t('import.file'), h('input', { type: 'file', name: 'file', class: 'sr', accept: '.ndjson,.jsonl,.json,.txt' }));
  // The browser's own button would speak the language of the browser.
  file.node.append(h('span', { class: 'actions' }, h('label', { class: 'button quiet', for: file.input.id }, t('import.file.choose')), chosen));
  file.input.addEventListener('change', () => show(chosen, file.input.files[0]?.name ?? t('import.file.none')));
  const text = field(t('import.text'), h('textarea', { name: 'rules', rows: '8', spellcheck: 'false', class: 'code', placeholder: '{"id":"class-7-teacher","group":"class-7","account":"teacher10","marks":[1000]}' }), { hint: t('import.text.hint'), wide: true });
  const mode = radios(t('import.mode'), 'mode', 'merge', [
    ['merge', t('import.merge'), t('import.merge.hint')],
    ['replace', t('import.replace'), t('import.replace.hint')]]);
  const label = field(t('rule.field.label'), textInput('label'), { hint: t('import.label.hint') });
  const removals = field(t('import.removals'), textInput('max_removals', '', { inputmode: 'numeric' }), { hint: t('import.removals.hint') });
  const outcome = h('section', { 'aria-label': t('import.outcome'), 'aria-live': 'polite' });

  const wanted = () => ({
    rules: file.input.files[0] ?? text.input.value,
    query: {
      mode: mode.value(), label: label.input.value.trim(),
      max_removals: mode.value() === 'replace' ? removals.input.value.trim() : '',
    },
  });
  const changed = () => {
    removals.node.hidden = mode.value() !== 'replace';
    show(outcome);
  };
  const look = () => {
    const { rules, query } = wanted();
    text.wrong(rules === '' ? t('import.empty') : null);
    if (rules === '') return text.input.focus();
    return load(outcome, importRules(rules, { ...query, dry_run: true }), (answer) =>
      preview(answer, canWrite, () => apply(rules, query)), badLines);
  };
  const apply = (rules, query) => load(outcome, importRules(rules, query), (answer) => {
    unsaved.forget();
    return [hint(summary(answer), 'good'), h('p', {}, h('a', { href: '#/rules' }, t('import.look')))];
  }, badLines);

  const form = h('form', { class: 'card', on: { submit: (event) => event.preventDefault(), input: changed } },
    h('fieldset', { class: 'plain', disabled: !canWrite },
      h('legend', { class: 'sr' }, t('import.title')),
      h('div', { class: 'grid' }, file.node, text.node),
      mode.node,
      h('div', { class: 'grid' }, label.node, removals.node)),
    h('div', { class: 'actions' }, writeButton(canWrite, t('import.check'), look, { type: 'submit' })));
  const unsaved = draft('import', form);
  changed();
  return { title: t('import.title'), nodes: [viewerHint(canWrite), h('p', { class: 'lead' }, t('import.lead')), form, outcome] };
}

function badLines(error) {
  const lines = error.problem?.errors?.filter((one) => one.line !== undefined) ?? [];
  if (lines.length === 0) return failure(error);
  return [
    h('div', { class: 'note bad block', role: 'alert' },
      h('h2', {}, t('import.bad', { n: error.problem.bad_lines })), h('p', {}, t('import.bad.text'))),
    h('ol', { class: 'lines' }, lines.slice(0, SHOWN).map((one) => h('li', {},
      h('strong', {}, t('import.line', { line: one.line })), ' ', one.pointer && h('code', {}, one.pointer), ' ',
      say(one)))),
    lines.length > SHOWN && h('p', { class: 'none' }, t('import.bad.more', { n: lines.length - SHOWN })),
  ];
}

function preview(answer, canWrite, apply) {
  const total = answer.changes.length;
  return h('div', { class: 'card' },
    h('h2', {}, t('import.preview')),
    h('p', {}, summary(answer)),
    answer.refusal && hint(h('span', {}, t('import.refusal'), ' ', say(answer.message))),
    total === 0 && h('p', { class: 'none' }, t('import.nothing')),
    total > 0 && !answer.refusal && h('div', { class: 'actions' }, writeButton(canWrite, t('import.apply', { n: total }), apply)),
    changes(answer.changes));
}
