use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialtone_inference::engine::{Engine, Options as Pace};
use dialtone_inference::load::ModelInfo;
use dialtone_inference::template::ChatTemplate;
use dialtone_llm_api::{ApiKey, Identity, Options, Serving, Worker, routes};
use dialtone_serve::client::Response;
use dialtone_serve::health::Health;
use dialtone_serve::{Drained, HttpClient, Limits, ListenArgs, listen, serve};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alphabet::{self, Alphabet, Gate};

/// Nothing in these tests takes so long unless it hangs.
pub const HANG: Duration = Duration::from_secs(20);
pub const MODEL: &str = "alphabet";
/// What was said is the prompt, but for what it does not take.
const TEMPLATE: &str = "{% for message in messages %}\
    {% if message.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}\
    {{ message.content }}{% endfor %}";

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

/// Looks until it holds.
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, poll).await;
}

/// A worker that serves on a free port.
pub struct Rig {
    pub worker: Worker,
    pub addr: SocketAddr,
    pub gate: Arc<Gate>,
    pub tokenizer: Arc<alphabet::Bytes>,
    client: HttpClient,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<Drained>>,
}

impl Rig {
    /// One without a model.
    pub fn loading() -> Self {
        Self::with(Options::default(), None)
    }

    pub fn with(options: Options, key: Option<&str>) -> Self {
        let identity = Identity {
            worker_id: "worker-1".to_owned(),
            model_id: MODEL.to_owned(),
            backend: "cpu".to_owned(),
            version: "1.2.3".to_owned(),
        };
        let key = key.map(|key| ApiKey::new(key).expect("a key"));
        let worker = Worker::new(identity, options, Health::start());
        let listener = listen("http", &ListenArgs::default()).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        worker.listens_on(addr.port());
        let stop = CancellationToken::new();
        let limits = Limits { drain: HANG, ..Limits::default() };
        let task = tokio::spawn(serve(listener, routes(&worker, key), limits, stop.clone()));
        let (gate, tokenizer, client) = (Arc::default(), Arc::default(), HttpClient::default());
        Self { worker, addr, gate, tokenizer, client, stop, task }
    }

    /// One that is ready, with two slots and one place to wait.
    pub async fn ready() -> Self {
        let rig = Self::loading();
        rig.open(2).await;
        rig
    }

    /// Takes a model with `slots` slots into service.
    pub async fn open(&self, slots: usize) {
        let decoder = Alphabet::new(slots, Arc::clone(&self.gate));
        let serving = serving_with(decoder, Arc::clone(&self.tokenizer));
        soon("the probe", self.worker.open(serving)).await.expect("it generates");
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path).await
    }

    pub async fn ask(&self, method: Method, path: &str) -> Response {
        let url = self.url(path);
        let sent = self.client.request(method, &url, HeaderMap::new(), None);
        soon(path, sent).await.expect("an answer")
    }

    pub async fn post(&self, path: &str, body: impl ToString) -> Response {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        self.send(path, headers, body.to_string().into()).await
    }

    pub async fn send(&self, path: &str, headers: HeaderMap, body: Bytes) -> Response {
        let url = self.url(path);
        let sent = self.client.request(Method::POST, &url, headers, Some(body));
        soon(path, sent).await.expect("an answer")
    }

    /// Posts on a connection of its own, and leaves the answer to be read.
    pub async fn begin(&self, path: &str, body: impl ToString) -> Connection {
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.addr).await.expect("connected");
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        Connection(stream)
    }

    /// Gets on a connection of its own, of which the head has been read.
    pub async fn fetch(&self, path: &str) -> Connection {
        let mut stream = TcpStream::connect(self.addr).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut connection = Connection(stream);
        connection.until("\r\n\r\n").await;
        connection
    }

    /// Requests that run, and that wait.
    pub async fn load(&self) -> (u64, u64) {
        let info = json(&self.get("/info").await);
        let number = |name: &str| info["engine"][name].as_u64().expect("a number");
        (number("slots_busy"), number("queue_depth"))
    }

    pub async fn until_load(&self, expected: (u64, u64)) {
        until(&format!("{expected:?} run and wait"), async || self.load().await == expected).await;
    }

    /// The value of a metric, by its whole name with labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = text(&self.get("/metrics").await);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    pub async fn end(self) -> Drained {
        self.stop.cancel();
        soon("the end", self.task).await.expect("no panic").expect("drained")
    }
}

/// A connection on which an answer comes.
pub struct Connection(TcpStream);

impl Connection {
    /// All that comes, up to the end of the connection.
    pub async fn rest(mut self) -> String {
        let mut text = String::new();
        soon("the answer", self.0.read_to_string(&mut text)).await.expect("text");
        text
    }

    /// Reads until `end` has come.
    pub async fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        let read = async {
            while !bytes.ends_with(end.as_bytes()) {
                bytes.push(self.0.read_u8().await.expect("more"));
            }
        };
        soon(end, read).await;
        String::from_utf8(bytes).expect("text")
    }
}

/// The body of an answer in chunks, put together.
pub fn body(answer: &str) -> String {
    let (head, mut rest) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return body;
        }
        body.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").expect("the end of a chunk");
    }
}

pub fn text(response: &Response) -> String {
    String::from_utf8(response.body.to_vec()).expect("text")
}

pub fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).expect("JSON")
}

pub fn serving(decoder: Alphabet) -> Serving {
    serving_with(decoder, Arc::default())
}

fn serving_with(decoder: Alphabet, tokenizer: Arc<alphabet::Bytes>) -> Serving {
    let pace = Pace { queue: 1, output_buffer: 4, ..Pace::default() };
    let template = ChatTemplate::new(Some(TEMPLATE), "", "").expect("a template");
    let info = ModelInfo {
        name: "Alphabet".to_owned(),
        architecture: "none".to_owned(),
        version: 3,
        tensors: 1,
        parameters: 26,
        bytes: 26,
        format: "F32".to_owned(),
        context: alphabet::CONTEXT,
        vocab: alphabet::VOCAB,
    };
    let engine = Engine::start(Box::new(decoder), Arc::clone(&tokenizer) as _, pace);
    Serving { engine, tokenizer, template, info, device: "rule".to_owned() }
}
