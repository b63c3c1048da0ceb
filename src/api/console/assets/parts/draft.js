// Unsaved input of a form. It survives a language switch, another page and an expired session, and
// ends with the tab or with signing out.

const PREFIX = 'stickymark-draft-';

function kept(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

function fill(form, values) {
  for (const input of form.elements) {
    if (!input.name || input.type === 'file') continue;
    if (input.type === 'checkbox') input.checked = input.name in values;
    else if (input.type === 'radio') input.checked = values[input.name] === input.value;
    else input.value = values[input.name] ?? input.value;
  }
}

// Keeps what is typed into the form, and fills in what was kept under this name. `base` is what the
// input began with: { restored, base, forget() }.
export function draft(name, form, base = null) {
  const key = PREFIX + name;
  const found = kept(key);
  if (found) fill(form, found.values);
  const state = { restored: found !== null, base: found ? found.base : base, forget: () => sessionStorage.removeItem(key) };
  form.addEventListener('input', () => {
    const values = Object.fromEntries([...new FormData(form)].filter(([, value]) => typeof value === 'string'));
    try {
      sessionStorage.setItem(key, JSON.stringify({ base: state.base, values }));
    } catch {
      // Too large for the storage, a pasted import: it stays only in the form.
      state.forget();
    }
  });
  return state;
}

export const forgetDrafts = () => sessionStorage.clear();
