//! The files of the page, compiled in. Frame, colours and small parts are the console's.

use axum::Router;
use axum::http::header;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

const FILES: [(&str, &str, &str); 7] = [
    (super::PATH, HTML, include_str!("assets/stage.html")),
    ("/stage/stage.css", CSS, include_str!("assets/stage.css")),
    ("/stage/stage.js", JS, include_str!("assets/stage.js")),
    ("/stage/room.js", JS, include_str!("assets/room.js")),
    ("/stage/frame.js", JS, include_str!("assets/frame.js")),
    ("/stage/dom.js", JS, include_str!("assets/dom.js")),
    ("/stage/words.js", JS, include_str!("assets/words.js")),
];

/// One route a file.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, file| {
        let (path, kind, text) = file;
        let answer = move || std::future::ready(([(header::CONTENT_TYPE, kind)], text));
        router.route(path, get(answer))
    })
}
