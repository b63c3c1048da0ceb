// Texts of the service in the language of the page. It gives each in English, with a code and the
// values in it; this page says the same in Chinese where it knows the code.

import { serviceText } from '../format.js';
import { language } from '../i18n.js';
import { ADVICE, CHAT, CODES } from '../words/service.js';

// A message of the API: { code, params, detail }. Null for null.
export function say(message) {
  if (!message) return null;
  const text = language() === 'zh' && chinese(message);
  return text || serviceText(message.detail);
}

function chinese({ code, params }) {
  return CODES[code]?.replace(/\{(\w+)\}/g, (whole, name) => {
    if (name === 'meaning') return CHAT[params.chat_code] ?? params.meaning;
    if (name === 'cause') return chinese(params.cause) ?? params.cause.detail;
    return params[name] ?? whole;
  });
}

// How to fix what a message says; `english` is what the service says about it.
export function advice({ code, params }, english) {
  const text = language() === 'zh' && (ADVICE[params.chat_code] ?? ADVICE[code]);
  return text || (english && serviceText(english));
}
