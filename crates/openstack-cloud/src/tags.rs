//! How an effect is written on what it made, and found again. Neither names nor ids can be chosen, and nothing else of a request
//! comes back in a listing of every service: metadata in Nova and Cinder, the description in Neutron, whose own tags can be given
//! at creation by newer releases only and hold 60 letters.

use std::collections::BTreeMap;

use cloud::Tag;

/// The key in the metadata of instances, volumes and volume snapshots.
pub(crate) const KEY: &str = "holdfast:tag";
/// In front of the tag in a port's description.
const IN_DESCRIPTION: &str = "holdfast:tag=";
/// Neutron's limit.
const DESCRIPTION_LENGTH_MAX: usize = 255;

pub(crate) fn of_metadata(metadata: &BTreeMap<String, String>) -> Option<Tag> {
    metadata.get(KEY).map(|text| Tag::from_text(text))
}

pub(crate) fn is_tagged(metadata: &BTreeMap<String, String>, tag: &Tag) -> bool {
    metadata.get(KEY).is_some_and(|text| text == tag.as_str())
}

/// The metadata of something new: what the user had, and the tag.
pub(crate) fn metadata(metadata: &BTreeMap<String, String>, tag: &Tag) -> BTreeMap<String, String> {
    let mut metadata = metadata.clone();
    metadata.insert(KEY.to_owned(), tag.as_str().to_owned());
    metadata
}

/// The description of port `index` of something new: the user's, as far as there is room, and the tag.
pub(crate) fn description(user: &str, tag: &Tag, index: usize) -> String {
    let user = without_tag(user);
    let suffix = format!("[{IN_DESCRIPTION}{tag}#{index}]");
    let room = DESCRIPTION_LENGTH_MAX.saturating_sub(suffix.len() + 1);
    let user: String = user.chars().take(room).collect();
    format!("{user} {suffix}").trim_start().to_owned()
}

/// The tag in a description, and the index.
pub(crate) fn of_description(text: &str) -> Option<(Tag, usize)> {
    let (_, suffix) = text.rsplit_once(&format!("[{IN_DESCRIPTION}"))?;
    let (tag, index) = suffix.strip_suffix(']')?.rsplit_once('#')?;
    Some((Tag::from_text(tag), index.parse().ok()?))
}

/// What its user wrote: of something that a restore made, the tag is not the user's.
pub(crate) fn without_tag(text: &str) -> &str {
    text.rsplit_once(&format!("[{IN_DESCRIPTION}")).map_or(text, |(user, _)| user.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_round_trip(user: &str) {
        let tag = Tag::from_text("018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f/create_instances/3");
        let text = description(user, &tag, 12);
        assert!(text.chars().count() <= DESCRIPTION_LENGTH_MAX, "{text}");
        assert_eq!(of_description(&text), Some((tag.clone(), 12)));
        assert!(user.starts_with(without_tag(&text)), "{text}");
        // What was restored and is restored again bears one tag.
        let again = description(&text, &Tag::from_text("other/create_instances/0"), 0);
        assert_eq!(of_description(&again), Some((Tag::from_text("other/create_instances/0"), 0)));
        assert!(!again.contains(tag.as_str()), "{again}");
    }

    #[test]
    fn a_tag_in_a_description_is_found_and_leaves_the_users_words() {
        check_round_trip("");
        check_round_trip("first port [of two]");
        check_round_trip(&"ä".repeat(255));
    }

    #[test]
    fn a_description_of_a_user_is_no_tag() {
        for text in ["", "holdfast", "[holdfast:tag=]", "[holdfast:tag=a#b]", "[holdfast:tag=a#1"] {
            assert_eq!(of_description(text), None, "{text}");
        }
    }
}
