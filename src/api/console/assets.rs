//! The files of the console, compiled in as they are: they need no build and no network. A browser
//! keeps them and asks each time whether they changed, so an upgrade shows at once.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use axum_extra::TypedHeader;
use axum_extra::headers::IfNoneMatch;

use crate::api::assets::tagged;

/// The name below `assets` and the content of each file.
macro_rules! files {
    ($($name:literal,)*) => { &[$(($name, include_bytes!(concat!("assets/", $name)))),*] };
}

/// Every file but the page itself; a test compares the directory.
const FILES: &[(&str, &[u8])] = files![
    "address.js",
    "api.js",
    "app.js",
    "console.css",
    "dom.js",
    "format.js",
    "i18n.js",
    "icon.svg",
    "narrow.css",
    "overview.css",
    "pages/explain.js",
    "pages/history.js",
    "pages/import.js",
    "pages/members.js",
    "pages/overview.js",
    "pages/rooms.js",
    "pages/rule.js",
    "pages/rules.js",
    "pages/sign-in.js",
    "parts/changes.js",
    "parts/chart.js",
    "parts/copy.js",
    "parts/dialog.js",
    "parts/diff.js",
    "parts/draft.js",
    "parts/form.js",
    "parts/icon.js",
    "parts/list.js",
    "parts/marks.js",
    "parts/notice.js",
    "parts/say.js",
    "parts/states.js",
    "parts/story.js",
    "parts/table.js",
    "parts/write.js",
    "words/en.js",
    "words/service.js",
    "words/zh.js",
];

/// The page itself, at `/`.
const SHELL: &[u8] = include_bytes!("assets/index.html");

/// Every file at its path.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES
        .iter()
        .map(|(name, content)| {
            (
                format!("/console/assets/{name}"),
                content_type(name),
                *content,
            )
        })
        .chain([("/".to_owned(), "text/html; charset=utf-8", SHELL)])
        .fold(Router::new(), |router, (path, content_type, content)| {
            let answer = move |known: Option<TypedHeader<IfNoneMatch>>| {
                let no_cache = [(header::CACHE_CONTROL, "no-cache")];
                std::future::ready((no_cache, tagged(known, content_type, content)))
            };
            router.route(&path, get(answer))
        })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::chat::ErrorCode;
    use crate::messages::{OTHER, codes, has_param};

    fn below(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let names = entries.flat_map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => below(&entry.path())
                    .into_iter()
                    .map(|inner| format!("{name}/{inner}"))
                    .collect(),
                false => vec![name],
            }
        });
        names.collect()
    }

    fn text(name: &str) -> &'static str {
        let (_, content) = FILES.iter().find(|(one, _)| *one == name).unwrap();
        std::str::from_utf8(content).unwrap()
    }

    fn scripts() -> impl Iterator<Item = (&'static str, &'static str)> {
        let scripts = FILES.iter().filter(|(name, _)| name.ends_with(".js"));
        scripts.map(|(name, _)| (*name, text(name)))
    }

    /// The texts between single quotes that follow `before`.
    fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(before)
            .skip(1)
            .filter_map(|rest| rest.split('\'').next())
    }

    /// The keys of a language, in the order of its file.
    fn keys(name: &str) -> Vec<&'static str> {
        let lines = text(name).lines();
        lines
            .filter_map(|line| line.strip_prefix("  '")?.split('\'').next())
            .collect()
    }

    /// The text of a template literal before its first `${` and behind its last `}`.
    fn ends(template: &str) -> Option<(&str, &str)> {
        let (start, rest) = template.split_once("${")?;
        let (_, end) = rest.rsplit_once('}')?;
        (start.contains('.') || end.contains('.')).then_some((start, end))
    }

    #[test]
    fn every_file_of_the_directory_is_served() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/console/assets");
        let there: BTreeSet<String> = below(&directory).into_iter().collect();
        let mut served: BTreeSet<String> =
            FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        served.insert("index.html".to_owned());
        assert_eq!(there, served);
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        for (name, script) in scripts() {
            for imported in quoted(script, " from '") {
                let mut path: Vec<&str> = name.split('/').collect();
                path.pop();
                for part in imported.split('/') {
                    match part {
                        "." => {}
                        ".." => assert!(path.pop().is_some()),
                        part => path.push(part),
                    }
                }
                let path = path.join("/");
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
            for key in quoted(script, " t('")
                .chain(quoted(script, "(t('"))
                .chain(quoted(script, "[t('"))
            {
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
        let numbers = |codes: Vec<ErrorCode>| -> BTreeSet<String> {
            codes.iter().map(ToString::to_string).collect()
        };
        let of = |name| {
            said(name)
                .into_iter()
                .filter(|key| key.parse::<u32>().is_ok())
        };
        let known = ErrorCode::all().collect();
        assert_eq!(
            of("CHAT").map(str::to_owned).collect::<BTreeSet<_>>(),
            numbers(known)
        );
        let advised = ErrorCode::all()
            .filter(|code| code.advice().is_some())
            .collect();
        assert_eq!(
            of("ADVICE").map(str::to_owned).collect::<BTreeSet<_>>(),
            numbers(advised)
        );
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
            let used = words
                .split('{')
                .skip(1)
                .filter_map(|rest| rest.split('}').next());
            for name in used {
                assert!(has_param(code, name), "{code} has no {name}");
            }
        }
    }

    #[test]
    fn nothing_is_written_as_markup_and_nothing_comes_from_elsewhere() {
        for (name, content) in FILES.iter().chain([&("index.html", SHELL)]) {
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
