// Signing in: the token goes to the service once and comes back as a cookie that scripts cannot read.

import { ApiError, write } from '../api.js';
import { h, show } from '../dom.js';
import { t } from '../i18n.js';
import { field } from '../parts/form.js';
import { failure } from '../parts/notice.js';

export function signInPage(done, reason) {
  const token = field(t('sign.token'),
    h('input', { type: 'password', name: 'token', autocomplete: 'current-password', required: true, autofocus: true }),
    { hint: t('sign.hint') });
  const problem = h('div', {}, reason);
  const submit = async (event) => {
    event.preventDefault();
    show(problem);
    try {
      await write('POST', '/console/session', { token: token.input.value });
      token.input.value = '';
      await done();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const wrong = error.kind === 'unauthorized';
      show(problem, wrong ? null : failure(error));
      token.wrong(wrong ? t('sign.wrong') : null);
      token.input.focus();
    }
  };
  queueMicrotask(() => token.input.focus());
  return {
    title: t('sign.title'),
    nodes: [h('form', { class: 'card narrow', on: { submit } },
      problem, token.node, h('div', { class: 'actions' }, h('button', { type: 'submit' }, t('sign.in'))))],
  };
}
