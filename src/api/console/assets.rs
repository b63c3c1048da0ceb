//! The files of the console, compiled in as they are: they need no build and no network.

/// The name below `assets` and the content of each file. `build.rs` lists them.
pub(super) const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/console.rs"));

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use url::Url;

    use super::*;
    use crate::chat::ErrorCode;
    use crate::messages::{OTHER, codes, has_param};

    fn text(name: &str) -> &'static str {
        let (_, content) = FILES.iter().find(|(one, _)| *one == name).unwrap();
        std::str::from_utf8(content).unwrap()
    }

    fn scripts() -> impl Iterator<Item = (&'static str, &'static str)> {
        let scripts = FILES.iter().filter(|(name, _)| name.ends_with(".js"));
        scripts.map(|(name, _)| (*name, text(name)))
    }

    /// The texts that begin after `open` and end before `close`.
    fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
        let pieces = text.split(open).skip(1);
        pieces.filter_map(move |rest| rest.split(close).next())
    }

    /// The keys of a language, in the order of its file.
    fn keys(name: &str) -> Vec<&'static str> {
        between(text(name), "\n  '", '\'').collect()
    }

    /// The text of a template literal before its first `${` and behind its last `}`.
    fn ends(template: &str) -> Option<(&str, &str)> {
        let (start, rest) = template.split_once("${")?;
        let (_, end) = rest.rsplit_once('}')?;
        (start.contains('.') || end.contains('.')).then_some((start, end))
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        for (name, script) in scripts() {
            let own = Url::parse("file:///").unwrap().join(name).unwrap();
            for imported in between(script, " from '", '\'') {
                let path = own.join(imported).unwrap();
                let path = path.path().trim_start_matches('/');
                assert!(
                    FILES.iter().any(|(one, _)| *one == path),
                    "{name} imports {path}"
                );
            }
        }
    }

    #[test]
    fn both_languages_have_the_same_keys_in_the_same_order() {
        assert_eq!(keys("words/en.js"), keys("words/zh.js"));
    }

    #[test]
    fn every_key_that_the_scripts_name_has_words_and_every_key_is_named() {
        let keys = keys("words/en.js");
        let scripts = || scripts().filter(|(name, _)| !name.starts_with("words/"));
        for (name, script) in scripts() {
            let used = [" t('", "(t('", "[t('"];
            for key in used.iter().flat_map(|open| between(script, open, '\'')) {
                assert!(keys.contains(&key), "{name} names {key}");
            }
        }
        let templates: Vec<_> = scripts()
            .flat_map(|(_, script)| script.split("`").skip(1).step_by(2))
            .filter_map(ends)
            .collect();
        // A template literal stands for one part between the dots of a key.
        let produces = |(start, end): &(&str, &str), key: &str| {
            let part = key
                .strip_prefix(start)
                .and_then(|rest| rest.strip_suffix(end));
            part.is_some_and(|part| !part.contains('.'))
        };
        for key in keys {
            let literal = format!("'{key}'");
            assert!(
                scripts().any(|(_, script)| script.contains(&literal))
                    || templates.iter().any(|template| produces(template, key)),
                "no script names {key}"
            );
        }
    }

    /// What the service says has a Chinese text for each code, and each text a code.
    #[test]
    fn every_code_of_the_service_is_said_in_chinese() {
        let service = text("words/service.js");
        let said = |name: &str| -> BTreeSet<&str> {
            let start = format!("export const {name} = {{");
            let (_, rest) = service.split_once(&start).unwrap();
            let (object, _) = rest.split_once("\n};").unwrap();
            let keys = object.lines().filter_map(|line| {
                let (key, _) = line.strip_prefix("  ")?.split_once(": ")?;
                Some(key.trim_matches('\''))
            });
            keys.collect()
        };
        let codes: BTreeSet<&str> = codes().into_iter().filter(|code| *code != OTHER).collect();
        assert_eq!(said("CODES"), codes);
        let numbers = |name| -> BTreeSet<String> {
            let keys = said(name).into_iter().map(str::to_owned);
            keys.filter(|key| key.parse::<u32>().is_ok()).collect()
        };
        let known = ErrorCode::all().map(|code| code.to_string());
        assert_eq!(numbers("CHAT"), known.collect());
        let advised = ErrorCode::all().filter(|code| code.advice().is_some());
        let advised = advised.map(|code| code.to_string());
        assert_eq!(numbers("ADVICE"), advised.collect());
    }

    /// A parameter that a Chinese text names and the English one does not would stay a name in braces.
    #[test]
    fn chinese_texts_name_only_values_that_the_english_ones_have() {
        for line in text("words/service.js").lines() {
            let Some((code, words)) = line
                .strip_prefix("  '")
                .and_then(|rest| rest.split_once("': "))
            else {
                continue;
            };
            for name in between(words, "{", '}') {
                assert!(has_param(code, name), "{code} has no {name}");
            }
        }
    }

    #[test]
    fn nothing_is_written_as_markup_and_nothing_comes_from_elsewhere() {
        for (name, content) in FILES {
            let content = std::str::from_utf8(content).unwrap();
            let content = content.replace("http://www.w3.org/2000/svg", "");
            for wild in [
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "eval(",
                "://",
                "style=",
                "onclick=",
            ] {
                assert!(!content.contains(wild), "{name} has {wild}");
            }
        }
    }
}
