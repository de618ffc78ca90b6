//! What the comment of a rule or an element says: whose it is.

/// What the comment of a container's begins with, before its id.
const OF_CONTAINER: &str = "netns container ";
/// What the comment of a network's begins with, before its bridge.
const OF_NETWORK: &str = "netns network ";
/// The comment of what all share.
pub(super) const OF_ALL: &str = "netns";

/// The comment of a network's.
pub(super) fn of_network(bridge: &str) -> String {
    format!("{OF_NETWORK}{bridge}")
}

/// The comment of a container's, of at most `longest` bytes. An id that does not fit is cut: the
/// rest of the rule still tells whose it is.
pub(super) fn of_container(id: &str, longest: usize) -> String {
    let comment = format!("{OF_CONTAINER}{id}");
    // An id is ASCII.
    comment.get(..comment.len().min(longest)).unwrap_or(OF_CONTAINER).to_owned()
}

/// The container's id in a comment, or its beginning.
pub(super) fn container_in(comment: &str) -> Option<&str> {
    comment.strip_prefix(OF_CONTAINER)
}

/// Whether a comment is one of ours.
pub(super) fn is_ours(comment: &str) -> bool {
    comment == OF_ALL || comment.starts_with(OF_NETWORK) || comment.starts_with(OF_CONTAINER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_fits_and_tells_its_container() {
        let long = of_container(&"x".repeat(255), 255);
        assert_eq!(long.len(), 255);
        assert_eq!(container_in(&long), Some("x".repeat(255 - OF_CONTAINER.len()).as_str()));
        assert_eq!(container_in(&of_network("netns0")), None);
        assert!(!is_ours("netnsd") && is_ours("netns"));
    }
}
