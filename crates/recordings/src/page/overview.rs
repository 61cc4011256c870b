use std::fmt::Write as _;

use super::Report;
use super::text::{escaped, warning};

/// The figures and what had to hold.
pub fn write(page: &mut String, report: &Report<'_>) {
    page.push_str("<section class=\"tiles\">");
    for tile in &report.tiles {
        let _ = write!(
            page,
            "<div class=\"tile\"><span class=\"name\">{}</span><strong>{}</strong>\
             <span class=\"detail\">{}</span></div>",
            escaped(&tile.name),
            escaped(&tile.value),
            escaped(&tile.detail)
        );
    }
    page.push_str("</section>");
    if !report.thresholds.is_empty() {
        page.push_str("<ul class=\"lines\">");
        for line in &report.thresholds {
            let (class, word) = if line.passed { ("good", "held") } else { ("bad", "crossed") };
            let _ = write!(
                page,
                "<li><span class=\"chip {class}\">{word}</span> <code>{}</code> {}</li>",
                escaped(&line.text),
                escaped(&line.observed)
            );
        }
        page.push_str("</ul>");
    }
}

/// What is odd about files, and what was left out.
pub fn write_warnings(page: &mut String, report: &Report<'_>) {
    let warned = report.calls.iter().flat_map(|call| {
        call.findings.warnings.iter().map(|odd| (call.name, "warn", warning(odd)))
    });
    let left = report.left_out.iter().map(|(file, why)| (file.as_str(), "bad", why.clone()));
    let all: Vec<_> = left.chain(warned).collect();
    if all.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "<section><details{}><summary><h2>Warnings</h2> <span class=\"count\">{}</span></summary>\
         <ul class=\"lines scroll\">",
        if all.len() <= 8 { " open" } else { "" },
        all.len()
    );
    for (file, class, text) in all {
        let word = if class == "bad" { "left out" } else { "warning" };
        let _ = write!(
            page,
            "<li><span class=\"chip {class}\">{word}</span> <b>{}</b> {}</li>",
            escaped(file),
            escaped(&text)
        );
    }
    page.push_str("</ul></details></section>");
}
