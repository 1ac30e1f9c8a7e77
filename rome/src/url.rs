//! URLs of stores as people may see them.

/// Options of stores' URLs that hold no secret.
const OPEN_OPTIONS: [&str; 7] = ["namespace", "master", "cacert", "cert", "key", "ssl_ca_certs", "local"];

/// A store's URL without user, password, and options that may be secrets. What is no URL comes back as its engine's name alone, since nobody knows
/// where a password would be in it.
///
/// ```
/// let url = "redis://user:secret@10.1.0.5:6379/0?namespace=cloud";
/// assert_eq!(rome::hide_credentials(url), "redis://10.1.0.5:6379/0?namespace=cloud");
/// ```
pub fn hide_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once(':') else { return "?".to_owned() };
    match (scheme, rest.strip_prefix("//")) {
        ("embedded" | "memory" | "sqlite", _) => url.to_owned(),
        (scheme, None) => format!("{scheme}:..."),
        // Up to the last `@`: a password may hold any character where somebody has forgotten to encode it.
        (scheme, Some(rest)) => {
            let rest = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
            let (place, options) = match rest.split_once('?') {
                Some((place, options)) => (place, Some(options)),
                None => (rest, None),
            };
            let shown = |option: &str| match option.split_once('=') {
                Some((name, _)) if OPEN_OPTIONS.contains(&name) => option.to_owned(),
                Some((name, _)) => format!("{name}=..."),
                None => "...".to_owned(),
            };
            let options: Vec<String> = options.into_iter().flat_map(|all| all.split('&')).map(shown).collect();
            let question = if options.is_empty() { "" } else { "?" };
            format!("{scheme}://{place}{question}{}", options.join("&"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::hide_credentials;

    #[test]
    fn secrets_are_not_shown() {
        for (url, shown) in [
            ("redis://h:6379", "redis://h:6379"),
            ("redis://:s3cret@h", "redis://h"),
            ("redis://u:s3c/r@et@h/1", "redis://h/1"),
            ("redis://u:s3?c=ret@h/1?namespace=n", "redis://h/1?namespace=n"),
            ("etcds://u:p@a:1,b:2?cacert=/x&token=s3cret", "etcds://a:1,b:2?cacert=/x&token=..."),
            ("embedded:/srv/a@b.rome", "embedded:/srv/a@b.rome"),
            ("memory:", "memory:"),
            ("redis:u:s3cret@h", "redis:..."),
            ("s3cret", "?"),
        ] {
            assert_eq!(hide_credentials(url), shown);
        }
    }
}
