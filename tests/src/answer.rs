use dialtone_contract::{ErrorCode, Problem};
use dialtone_serve::client::Response;
use hyper::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An answer over HTTP, with what tests ask of it.
#[derive(Debug)]
pub struct Answer {
    /// What was asked, for messages.
    asked: String,
    response: Response,
}

impl Answer {
    pub(crate) fn new(asked: String, response: Response) -> Self {
        Self { asked, response }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.response.status.as_u16()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.response.body).into_owned()
    }

    /// The body, after a check of the status.
    ///
    /// # Panics
    /// If the status is another, or the body is no `T`.
    #[track_caller]
    pub fn expect<T: DeserializeOwned>(&self, status: u16) -> T {
        assert_eq!(self.status(), status, "{}: {}", self.asked, self.text());
        serde_json::from_slice(&self.response.body)
            .unwrap_or_else(|error| panic!("{}: {error} in {}", self.asked, self.text()))
    }

    /// The body as JSON of a 200.
    ///
    /// # Panics
    /// If the status is another, or the body is not JSON.
    #[track_caller]
    pub fn ok(&self) -> Value {
        self.expect(200)
    }

    /// The problem with this code, checked to be one through and through.
    ///
    /// # Panics
    /// If the answer is anything else.
    #[track_caller]
    pub fn refused(&self, code: ErrorCode) -> Problem {
        let asked = &self.asked;
        let media = self.header(CONTENT_TYPE.as_str()).map(str::to_owned);
        assert_eq!(
            media.as_deref(),
            Some("application/problem+json"),
            "{asked} was answered {} {}",
            self.status(),
            self.text()
        );
        let problem: Problem = self.expect(code.status());
        assert_eq!(problem.code, code, "{asked}: {problem:?}");
        assert_eq!(problem.status, code.status(), "{asked}");
        assert_eq!(problem.kind, format!("/problems/{}", code.as_str()), "{asked}");
        problem
    }

    /// The 422 that names exactly these fields, by pointer and code.
    ///
    /// # Panics
    /// If the answer is anything else.
    #[track_caller]
    pub fn invalid(&self, fields: &[(&str, &str)]) {
        let problem = self.refused(ErrorCode::Invalid);
        let named: Vec<_> =
            problem.errors.iter().map(|e| (e.pointer.as_str(), e.code.as_str())).collect();
        assert_eq!(named, fields, "{}: {problem:?}", self.asked);
    }
}
