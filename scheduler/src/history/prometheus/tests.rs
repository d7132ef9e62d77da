//! Names, requests and answers; a real server is asked in the integration tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

#[test]
fn labels_fill_names() {
    let here = labels(&[("region", "DE"), ("node", "a b"), ("empty", "")]);
    for (name, expected) in [
        ("region/{region}/demand", Some("region/DE/demand")),
        ("total/demand", Some("total/demand")),
        ("{region}{region}", Some("DEDE")),
        ("node/{node}/cpu", None),
        ("x/{empty}", None),
        ("x/{missing}", None),
        ("x/{region", None),
        ("", None),
    ] {
        assert_eq!(named(name, &here).as_deref(), expected, "{name}");
    }
}

#[test]
fn the_defaults_are_read_and_faults_are_named() {
    let read = |text: &str| -> anyhow::Result<Prometheus> {
        Prometheus::new(&toml::from_str(text)?, Time::default())
    };
    let url = "url = \"http://127.0.0.1:9090/\"\n";
    let server = read(url).unwrap();
    assert!(server.queries.contains_key("region/{region}/demand") && server.url.ends_with("9090"));
    for (text, said) in [
        ("", "missing field `url`"),
        ("url = \"9090\"", "write http://"),
        (&format!("{url}queries = {{}}"), "at least one"),
        (&format!("{url}token = \"t\"\nuser = \"u\""), "not both"),
        (&format!("{url}password = \"p\""), "name the user"),
        (&format!("{url}token = \"a\\nb\""), "header"),
        (
            "url = \"https://x\"\nca = \"/nonexistent\"",
            "ca /nonexistent",
        ),
        (&format!("{url}nonsense = 1"), "unknown field"),
    ] {
        let error = read(text).err().map(|error| format!("{error:#}"));
        assert!(
            error.as_ref().is_some_and(|it| it.contains(said)),
            "{text}: {error:?}"
        );
    }
}

/// Answers each connection with the next of these, and tells what was asked.
async fn serve(answers: Vec<(u16, String)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        let mut answers = VecDeque::from(answers);
        while let Some((status, body)) = answers.pop_front() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            log.lock().unwrap().push(String::from_utf8(head).unwrap());
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

fn matrix(values: &str) -> String {
    format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[
            {{"metric":{{"region":"DE"}},"values":[{values}]}}]}}}}"#
    )
}

fn server(url: &str) -> Prometheus {
    let text = format!(
        "url = \"{url}\"\nuser = \"u\"\npassword = \"p\"\n\
         queries = {{ \"region/{{region}}/demand\" = \"x[{{step}}]\" }}"
    );
    Prometheus::new(&toml::from_str(&text).unwrap(), Time::default()).unwrap()
}

#[tokio::test]
async fn long_ranges_are_asked_for_in_parts() {
    let values = r#"[60,"1"],[120,"2.5"],[180,"NaN"],[240,"+Inf"],[300,"-1"],[360,"6"]"#;
    let answers = vec![(200, matrix(values)), (200, matrix(r#"[660060,"7"]"#))];
    let (url, asked) = serve(answers).await;
    let all = server(&url).load(60, 0..11_001).await.unwrap();
    let (id, series) = &all[0];
    assert_eq!(
        (id.as_str(), series.first, series.step_s),
        ("region/DE/demand", 0, 60)
    );
    let known: Vec<_> = (0..=11_000)
        .filter(|step| !series.at(*step).is_nan())
        .collect();
    assert_eq!(known, [0, 1, 5, 11_000]);
    assert_eq!((series.at(1), series.at(11_000)), (2.5, 7.0));
    let asked = asked.lock().unwrap();
    let first =
        "GET /api/v1/query_range?query=x%5B60000ms%5D&start=60.000&end=660000.000&step=60.000";
    assert!(asked[0].starts_with(first), "{}", asked[0]);
    assert!(
        asked[0].contains("authorization: Basic dTpw\r\n"),
        "{}",
        asked[0]
    );
    assert!(
        asked[1].contains("start=660060.000&end=660060.000"),
        "{}",
        asked[1]
    );
}

#[tokio::test]
async fn what_a_server_refuses_is_said() {
    let error = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    for (status, body, said) in [
        (400, error, "400 Bad Request to \"x[60000ms]\": parse error"),
        (502, "<html>", "502 Bad Gateway"),
        (200, "<html>", "does not answer like Prometheus"),
        (200, vector, "a vector instead of a matrix"),
        (200, r#"{"status":"success"}"#, "no data"),
    ] {
        let (url, _) = serve(vec![(status, body.to_owned())]).await;
        let error = server(&url).load(60, 0..10).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_asked_for_in_shorter_parts() {
    let long = matrix(&format!("[60,\"1\"]{}", " ".repeat(MAX_BODY)));
    let mut answers = vec![(200, long)];
    answers.extend((0..4).map(|_| (200, matrix(r#"[60,"1"]"#))));
    let (url, asked) = serve(answers).await;
    let all = server(&url).load(60, 0..11_000).await.unwrap();
    assert_eq!((all[0].1.at(0), asked.lock().unwrap().len()), (1.0, 5));
}
