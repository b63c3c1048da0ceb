// A button that copies a text.

import { h } from '../dom.js';
import { t } from '../i18n.js';
import { icon } from './icon.js';
import { notify } from './notice.js';

export const copyButton = (text) => h('button', { type: 'button', class: 'quiet copy', 'aria-label': t('copy', { text }), title: t('copy', { text }), on: {
  click: async () => {
    const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false) ?? selected(text);
    notify(t(copied ? 'copy.done' : 'copy.not', { text }), copied ? 'good' : 'bad');
  },
} }, icon('copy'));

// Without TLS, and not on this machine, browsers offer only the old way.
function selected(text) {
  const area = h('textarea', { class: 'sr' }, text);
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  return copied;
}
