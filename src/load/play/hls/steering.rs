//! Sans-IO: content steering as players follow it (draft-pantos-hls-rfc8216bis, section 7): when to ask, and from which
//! pathway to play.
//!
//! A pathway that could not be played is left alone for as long as hls.js does. Times count from any fixed moment.

use super::playlist::Multivariant;
use crate::load::play::target::Target;
use anyhow::{Context, Result};
use scheduler::steering::{Manifest, Replacement};
use std::time::Duration;

/// Who steers a player, and where it is.
#[derive(Debug)]
pub struct Steering {
    server: Target,
    stable_id: String,
    /// The pathway of the playlist, and its media playlist.
    base: Site,
    on: String,
    due: Duration,
    barred: Option<(String, Duration)>,
}

/// A pathway, and the media playlist there.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its id.
    pub pathway: String,
    /// The media playlist of the variant that is played.
    pub media: Target,
}

impl Steering {
    /// The steering of a playlist that came from there, when it names any; `media` is its first variant's.
    pub fn new(multivariant: &Multivariant, at: &Target, media: &Target) -> Option<Self> {
        let server = multivariant.steering.as_ref()?;
        let variant = multivariant.variants.first()?;
        Some(Self {
            server: at.join(server).ok()?,
            stable_id: variant.stable_id.clone(),
            base: Site {
                pathway: variant.pathway.clone(),
                media: media.clone(),
            },
            on: variant.pathway.clone(),
            due: Duration::ZERO,
            barred: None,
        })
    }

    /// The pathway that it plays from.
    pub fn on(&self) -> &str {
        &self.on
    }

    /// What to ask, once it is time.
    pub fn question(&mut self, now: Duration) -> Option<Target> {
        if now < self.due {
            return None;
        }
        // Until the answer says another time.
        self.due = now + USUAL_TTL;
        let on = format!("_HLS_pathway={}", self.on);
        self.server.with(&on).ok()
    }

    /// Takes an answer; where to go over to, if anywhere.
    pub fn answer(&mut self, text: &str, now: Duration) -> Result<Option<Site>> {
        let manifest: Manifest = serde_json::from_str(text).context("no steering manifest")?;
        self.due = now + Duration::from_secs(manifest.ttl_s.into());
        self.server = self.server.join(&manifest.reload_uri)?;
        let barred = self.barred.as_ref().filter(|(_, until)| now < *until);
        let may = |id: &&str| barred.is_none_or(|(barred, _)| barred != id);
        let mut wanted = manifest.priority.iter().map(|id| id.as_str()).filter(may);
        let wanted = wanted.next().filter(|wanted| *wanted != self.on);
        wanted.map_or(Ok(None), |wanted| self.site(&manifest, wanted))
    }

    fn site(&self, manifest: &Manifest, wanted: &str) -> Result<Option<Site>> {
        if wanted == self.base.pathway {
            return Ok(Some(self.base.clone()));
        }
        let clone = manifest.clones.iter().find(|it| it.id.as_str() == wanted);
        let media = match clone.map(|clone| &clone.replacement) {
            Some(Replacement::Host(host)) => {
                let base = &self.base.media;
                let (scheme, rest) = base.url.split_once("://").context("no URL")?;
                Target::parse(&format!(
                    "{scheme}://{}",
                    rest.replacen(&base.host, host, 1)
                ))?
            }
            Some(Replacement::PerVariant(uris)) => match uris.get(&self.stable_id) {
                Some(uri) => self.server.join(uri)?,
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        let pathway = wanted.to_owned();
        Ok(Some(Site { pathway, media }))
    }

    /// It plays from there now.
    pub fn went(&mut self, pathway: &str) {
        pathway.clone_into(&mut self.on);
    }

    /// It could not be played from there.
    pub fn failed(&mut self, pathway: String, now: Duration) {
        self.barred = Some((pathway, now + BARRED));
    }
}

/// While nobody says another (7.1).
const USUAL_TTL: Duration = Duration::from_secs(300);

/// hls.js tries a pathway that failed again after five minutes.
const BARRED: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::play::hls::playlist::Variant;

    const MANIFEST: &str = r#"{"VERSION":1,"TTL":7,"RELOAD-URI":"/steering/live/x?session=S&base=a&asked=1",
        "PATHWAY-PRIORITY":["b","a","c"],"PATHWAY-CLONES":[
        {"BASE-ID":"a","ID":"b","URI-REPLACEMENT":{"PER-VARIANT-URIS":{"live/x":"http://h:2/live/x/media.m3u8?s=1"}}},
        {"BASE-ID":"a","ID":"c","URI-REPLACEMENT":{"HOST":"other"}}]}"#;

    fn steering() -> Steering {
        let multivariant = Multivariant {
            variants: vec![Variant {
                uri: "http://h:1/live/x/media.m3u8?s=1".into(),
                stable_id: "live/x".into(),
                pathway: "a".into(),
            }],
            steering: Some("/steering/live/x?session=S".into()),
        };
        let at = Target::parse("http://scheduler/live/x.m3u8").unwrap();
        let media = Target::parse(&multivariant.variants[0].uri).unwrap();
        Steering::new(&multivariant, &at, &media).unwrap()
    }

    fn first(list: &str) -> String {
        MANIFEST.replace(r#"["b","a","c"]"#, list)
    }

    #[test]
    fn a_player_asks_when_it_is_time_and_goes_where_it_is_told() {
        let mut steering = steering();
        let now = Duration::from_secs(5);
        let asks = steering.question(now).unwrap().url;
        assert_eq!(
            asks,
            "http://scheduler/steering/live/x?session=S&_HLS_pathway=a"
        );
        assert!(steering.question(now).is_none());
        let site = steering.answer(MANIFEST, now).unwrap().unwrap();
        assert_eq!((&*site.pathway, &*site.media.authority), ("b", "h:2"));
        steering.went("b");
        let later = now + Duration::from_secs(7);
        assert!(steering.question(later - Duration::from_secs(1)).is_none());
        assert!(
            steering
                .question(later)
                .unwrap()
                .url
                .ends_with("asked=1&_HLS_pathway=b")
        );
        assert!(
            steering.answer(MANIFEST, later).unwrap().is_none(),
            "it is there"
        );
        let by_host = steering.answer(&first(r#"["c"]"#), later).unwrap().unwrap();
        assert_eq!(by_host.media.url, "http://other:1/live/x/media.m3u8?s=1");
        let home = steering.answer(&first(r#"["a"]"#), later).unwrap().unwrap();
        assert_eq!(home.media.url, "http://h:1/live/x/media.m3u8?s=1");
    }

    #[test]
    fn what_failed_or_is_not_known_is_left_alone() {
        let mut steering = steering();
        let now = Duration::from_secs(5);
        steering.failed("b".into(), now);
        assert!(steering.answer(MANIFEST, now).unwrap().is_none());
        assert!(steering.answer(MANIFEST, now + BARRED).unwrap().is_some());
        assert!(steering.answer(&first(r#"["z"]"#), now).unwrap().is_none());
        assert!(steering.answer("{}", now).is_err());
    }
}
