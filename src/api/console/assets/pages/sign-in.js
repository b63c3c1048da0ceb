// Signing in: the token goes to the service once and comes back as a cookie that scripts cannot read.

import { write } from '../api.js';
import { h, show } from '../dom.js';
import { t } from '../i18n.js';
import { field } from '../parts/form.js';
import { failure } from '../parts/notice.js';

export function signInPage(done) {
  const token = field(t('sign.token'),
    h('input', { type: 'password', name: 'token', autocomplete: 'current-password', required: true, autofocus: true }),
    { hint: t('sign.hint') });
  const problem = h('div', {});
  const submit = async (event) => {
    event.preventDefault();
    show(problem);
    try {
      await write('POST', '/console/session', { token: token.input.value });
      token.input.value = '';
      await done();
    } catch (error) {
      if (error.kind === undefined) throw error;
      const known = error.kind === 'unauthorized';
      show(problem, known ? null : failure(error));
      token.wrong(known ? t('sign.wrong') : null);
      token.input.focus();
    }
  };
  queueMicrotask(() => token.input.focus());
  return {
    title: t('sign.title'),
    nodes: [h('form', { class: 'card narrow', on: { submit } },
      token.node, problem, h('div', { class: 'actions' }, h('button', { type: 'submit' }, t('sign.in'))))],
  };
}
