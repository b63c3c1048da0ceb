//! Settings that have one of a few values, named as an operator writes them.

use serde::{Deserialize, Serialize};
use url::Url;

/// The site where an application lives. A call to another one is refused with code 60026.
///
/// Each site also has a backup host for trouble with DNS (`adminapi….my-imcloud.com`), which
/// `chat.base_url` can name.
/// Sources: <https://www.tencentcloud.com/document/product/1047/34620>,
/// <https://www.tencentcloud.com/document/product/1047/50294> (Jakarta),
/// <https://cloud.tencent.com/document/product/269/79267> (Tokyo).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Region {
    China,
    Singapore,
    Seoul,
    Tokyo,
    Frankfurt,
    SiliconValley,
    Jakarta,
    /// Missing in lists since 2024, kept for the applications that live there.
    Mumbai,
}

impl Region {
    #[expect(clippy::expect_used, reason = "the eight hosts are constants")]
    pub fn base_url(self) -> Url {
        let url = match self {
            Self::China => "https://console.tim.qq.com",
            Self::Singapore => "https://adminapisgp.im.qcloud.com",
            Self::Seoul => "https://adminapikr.im.qcloud.com",
            Self::Tokyo => "https://adminapijpn.im.qcloud.com",
            Self::Frankfurt => "https://adminapiger.im.qcloud.com",
            Self::SiliconValley => "https://adminapiusa.im.qcloud.com",
            Self::Jakarta => "https://adminapiidn.im.qcloud.com",
            Self::Mumbai => "https://adminapiind.im.qcloud.com",
        };
        Url::parse(url).expect("a URL")
    }
}

/// What Chat is answered when the callback backend fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardFailure {
    /// "Before" callbacks as `Fail`, so that Chat decides as it did without Stickymark; others as `Ok`.
    Auto,
    /// Success: a "before" event passes.
    Ok,
    /// An HTTP error: Chat applies the failure policy of its console.
    Fail,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Viewer,
    Editor,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
        }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
