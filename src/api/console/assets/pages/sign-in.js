// Signing in: the token goes to the service once and comes back as a cookie that scripts cannot read.

import { ApiError, get, write } from '../api.js';
import { h, show } from '../dom.js';
import { t } from '../i18n.js';
import { field } from '../parts/form.js';
import { failure, hint } from '../parts/notice.js';

export function signInPage(done, reason) {
  const token = field(t('sign.token'),
    h('input', { type: 'password', name: 'token', autocomplete: 'current-password', required: true, autofocus: true }),
    { hint: t('sign.hint') });
  const problem = h('div', { class: 'problem' }, reason);
  const submit = async (event) => {
    event.preventDefault();
    show(problem);
    try {
      // Only the page knows whether TLS brought it here: proxies do not always say.
      const secure = location.protocol === 'https:';
      await write('POST', '/console/session', { token: token.input.value, secure });
      token.input.value = '';
      const { signed_in: kept } = await get('/console/session');
      if (kept) await done();
      else show(problem, hint(t('sign.no.cookie')));
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
