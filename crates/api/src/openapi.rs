//! The API reference: OpenAPI 3.1 from the routes themselves, with every problem that a
//! route can answer.

use std::collections::{BTreeMap, BTreeSet};

use axum::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dialtone_contract::wire::{EventView, StreamEnd};
use dialtone_contract::{ErrorCode, Problem};
use dialtone_serve::problem::PROBLEM_JSON;
use serde_json::Value;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr};
use utoipa::{Modify, OpenApi};

/// Member of an operation that lists the codes of the problems it answers: its own ones in
/// a handler's annotation, all of them in the finished document.
const PROBLEMS: &str = "x-problems";
/// Scheme of the routes that belong to a tenant.
const API_KEY: &str = "api_key";
/// Scheme of the agents' routes.
const CAPABILITY: &str = "capability";

/// What the document says before the routes speak.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dialtone",
        description = "Outbound call batches through voice agents on LiveKit. Every error is a \
            problem (RFC 9457) with a stable `code`; `x-problems` lists the codes of a route.",
    ),
    components(schemas(Problem, EventView, StreamEnd)),
    modifiers(&Schemes),
    security(("api_key" = [])),
    tags(
        (name = "batches", description = "Take in batches, follow them, read their results."),
        (name = "control", description = "Change what is under way."),
        (name = "suppressions", description = "Numbers that are never called."),
        (name = "agents", description = "The side of the agent that holds a call."),
        (name = "platform", description = "The server itself."),
    )
)]
struct Head;

struct Schemes;

/// The finished document, as it is sent.
#[derive(Clone)]
pub struct Document(pub Bytes);

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = |description: &str| {
            let mut scheme = Http::new(HttpAuthScheme::Bearer);
            scheme.description = Some(description.to_owned());
            SecurityScheme::Http(scheme)
        };
        let key = "An API key; it names the tenant. A server without keys listens on loopback \
                   only, asks for none, and takes every request as tenant `demo`.";
        let capability = "The capability of one attempt, from its dispatch metadata. It names \
                          the tenant, so an agent needs no API key.";
        components.add_security_scheme(API_KEY, bearer(key));
        components.add_security_scheme(CAPABILITY, bearer(capability));
    }
}

/// The document before any route.
pub fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// The document of the API, as it is served and committed: pretty JSON, members in order.
///
/// # Panics
/// If a handler's annotation names a problem that is not in the registry.
pub fn document() -> String {
    finish(crate::router().into_openapi())
}

/// Adds to the document of the routes what holds for all of them.
pub fn finish(mut document: utoipa::openapi::OpenApi) -> String {
    for (path, what) in [
        ("/livez", "Whether the process turns its loop"),
        ("/readyz", "Whether the process can take work"),
        ("/metrics", "Figures in the OpenMetrics text format"),
    ] {
        document.paths.paths.insert(path.to_owned(), probe(path, what));
    }
    for item in document.paths.paths.values_mut() {
        let PathItem { get, put, post, delete, patch, .. } = item;
        get.iter_mut().for_each(|operation| complete(operation, false));
        let writing = [put, post, delete, patch].into_iter().flatten();
        writing.for_each(|operation| complete(operation, true));
    }
    let sorted: Value = serde_json::to_value(&document).expect("a document is plain data");
    serde_json::to_string_pretty(&sorted).expect("a document is plain data") + "\n"
}

/// `/livez`, `/readyz` and `/metrics` belong to every server process, not to this crate.
fn probe(path: &str, what: &str) -> PathItem {
    let ok = ResponseBuilder::new().description(what);
    let mut operation = OperationBuilder::new()
        .operation_id(Some(path.trim_start_matches('/')))
        .summary(Some(what))
        .tag("platform")
        .response("200", ok);
    if path != "/metrics" {
        operation = operation.securities(Some([]));
    }
    let mut operation = operation.build();
    if path == "/readyz" {
        name(&mut operation, &[ErrorCode::NotReady.as_str()]);
    }
    PathItem::new(HttpMethod::Get, operation)
}

fn name(operation: &mut Operation, codes: &[&str]) {
    let extensions = operation.extensions.get_or_insert_default();
    extensions.insert(PROBLEMS.to_owned(), serde_json::json!(codes));
}

/// Writes down every problem that the operation can answer: its own, and what follows from
/// what it reads and whether it writes.
fn complete(operation: &mut Operation, writes: bool) {
    use ErrorCode::{
        BadCapability, BadRequest, Internal, Invalid, NotFound, NotJson, Overloaded,
        RequestTimeout, StorageFull, TooLarge, Unauthorized, UnsupportedType,
    };
    let mut codes = own(operation);
    codes.extend([BadRequest, Internal, Overloaded]);
    if writes {
        codes.push(StorageFull);
    }
    if operation.request_body.is_some() {
        codes.extend([NotJson, RequestTimeout, TooLarge, UnsupportedType, Invalid]);
    }
    for parameter in operation.parameters.iter().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        match parameter.parameter_in {
            ParameterIn::Path => codes.push(NotFound),
            ParameterIn::Query | ParameterIn::QueryString | ParameterIn::Header => {
                codes.push(Invalid);
            }
            ParameterIn::Cookie => {}
        }
    }
    match schemes(operation).as_deref() {
        None | Some([API_KEY, ..]) => codes.push(Unauthorized),
        Some([CAPABILITY, ..]) => codes.push(BadCapability),
        Some(_) => {}
    }
    let mut by_status: BTreeMap<u16, BTreeMap<&str, &str>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().insert(code.as_str(), code.title());
    }
    let names: BTreeSet<&str> = by_status.values().flat_map(BTreeMap::keys).copied().collect();
    let extensions = operation.extensions.get_or_insert_default();
    extensions.insert(PROBLEMS.to_owned(), serde_json::json!(names));
    for (status, codes) in by_status {
        let status = status.to_string();
        operation
            .responses
            .responses
            .entry(status.clone())
            .or_insert_with(|| RefOr::T(problems(&status, &codes)));
    }
}

/// The codes of the operation's annotation.
fn own(operation: &Operation) -> Vec<ErrorCode> {
    let listed = operation.extensions.as_ref().and_then(|all| all.get(PROBLEMS).cloned());
    let Some(listed) = listed else { return Vec::new() };
    serde_json::from_value(listed).expect("codes of the registry")
}

/// The schemes that the operation asks for in place of the document's own.
fn schemes(operation: &Operation) -> Option<Vec<&'static str>> {
    let listed = serde_json::to_value(operation.security.as_ref()?).expect("plain data");
    let text = listed.to_string();
    Some([API_KEY, CAPABILITY].into_iter().filter(|name| text.contains(*name)).collect())
}

fn problems(status: &str, codes: &BTreeMap<&str, &str>) -> utoipa::openapi::Response {
    let lines: Vec<_> = codes.iter().map(|(code, title)| format!("`{code}`: {title}")).collect();
    let schema = Ref::from_schema_name("Problem");
    let mut response = ResponseBuilder::new()
        .description(lines.join("; "))
        .content(PROBLEM_JSON, Content::new(Some(schema)));
    if matches!(status, "429" | "503") {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
        let header = HeaderBuilder::new()
            .schema(Some(seconds))
            .description(Some("Seconds after which to try again."));
        response = response.header("Retry-After", header.build());
    }
    response.build()
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "platform", security(),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json"))
)]
pub async fn serve(Extension(Document(document)): Extension<Document>) -> Response {
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}
