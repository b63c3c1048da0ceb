//! The sites of Tencent Cloud Chat and their hosts.
//!
//! An application lives in exactly one region; a call to another one is refused with code 60026.
//! The backup hosts serve the same application and are meant for trouble with DNS, so they are
//! shown to operators but never chosen here: `chat.base_url` takes one when it is needed.
//! Sources: <https://www.tencentcloud.com/document/product/1047/34620>,
//! <https://www.tencentcloud.com/document/product/1047/50294> (Jakarta),
//! <https://cloud.tencent.com/document/product/269/79267> (Tokyo).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// Where an application lives; written as in the configuration, `silicon-valley`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Region {
    /// Mainland China.
    #[default]
    China,
    /// Singapore.
    Singapore,
    /// Seoul.
    Seoul,
    /// Tokyo.
    Tokyo,
    /// Frankfurt.
    Frankfurt,
    /// Silicon Valley.
    SiliconValley,
    /// Jakarta.
    Jakarta,
    /// Mumbai; missing in lists since 2024, kept for the applications that live there.
    Mumbai,
}

/// A text that names no region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no region; write china, singapore, seoul, tokyo, frankfurt, silicon-valley, jakarta \
     or mumbai"
)]
pub struct UnknownRegion(String);

impl Region {
    /// Every region.
    pub const ALL: [Self; 8] = [
        Self::China,
        Self::Singapore,
        Self::Seoul,
        Self::Tokyo,
        Self::Frankfurt,
        Self::SiliconValley,
        Self::Jakarta,
        Self::Mumbai,
    ];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::China => "china",
            Self::Singapore => "singapore",
            Self::Seoul => "seoul",
            Self::Tokyo => "tokyo",
            Self::Frankfurt => "frankfurt",
            Self::SiliconValley => "silicon-valley",
            Self::Jakarta => "jakarta",
            Self::Mumbai => "mumbai",
        }
    }

    /// The host that REST calls go to.
    pub fn host(self) -> &'static str {
        match self {
            Self::China => "console.tim.qq.com",
            Self::Singapore => "adminapisgp.im.qcloud.com",
            Self::Seoul => "adminapikr.im.qcloud.com",
            Self::Tokyo => "adminapijpn.im.qcloud.com",
            Self::Frankfurt => "adminapiger.im.qcloud.com",
            Self::SiliconValley => "adminapiusa.im.qcloud.com",
            Self::Jakarta => "adminapiidn.im.qcloud.com",
            Self::Mumbai => "adminapiind.im.qcloud.com",
        }
    }

    /// The host for times when the first one does not resolve. Tokyo's follows the pattern of the
    /// others; no page names it.
    pub fn backup_host(self) -> &'static str {
        match self {
            Self::China => "adminapi.my-imcloud.com",
            Self::Singapore => "adminapisgp.my-imcloud.com",
            Self::Seoul => "adminapikr.my-imcloud.com",
            Self::Tokyo => "adminapijpn.my-imcloud.com",
            Self::Frankfurt => "adminapiger.my-imcloud.com",
            Self::SiliconValley => "adminapiusa.my-imcloud.com",
            Self::Jakarta => "adminapiidn.my-imcloud.com",
            Self::Mumbai => "adminapiind.my-imcloud.com",
        }
    }

    /// `https://` and the host.
    #[expect(
        clippy::expect_used,
        reason = "built at start-up from the eight hosts above"
    )]
    pub fn base_url(self) -> Url {
        Url::parse(&format!("https://{}", self.host())).expect("each host stands in a URL")
    }
}

impl FromStr for Region {
    type Err = UnknownRegion;

    fn from_str(name: &str) -> Result<Self, UnknownRegion> {
        let known = Self::ALL.into_iter().find(|region| region.name() == name);
        known.ok_or_else(|| UnknownRegion(name.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Region {
    type Error = UnknownRegion;

    fn try_from(name: String) -> Result<Self, UnknownRegion> {
        name.parse()
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.name().to_owned()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_parsed_from_its_name_and_has_a_url() {
        for region in Region::ALL {
            assert_eq!(region.name().parse(), Ok(region));
            let json = serde_json::to_string(&region).unwrap();
            assert_eq!(json, format!("{:?}", region.name()));
            assert_eq!(serde_json::from_str::<Region>(&json).unwrap(), region);
            assert_eq!(region.base_url().host_str(), Some(region.host()));
            assert_ne!(region.host(), region.backup_host());
        }
    }

    #[test]
    fn an_unknown_region_is_refused_with_the_list_of_names() {
        let error = "Silicon Valley".parse::<Region>().unwrap_err().to_string();
        assert!(error.contains("\"Silicon Valley\""), "{error}");
        assert!(error.contains("silicon-valley"), "{error}");
    }
}
