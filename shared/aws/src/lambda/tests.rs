//! Against a scripted Lambda on loopback: what each answer says about the function.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use bond_core::deliver::{Delivery, Parcel};
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use super::*;
use crate::Aws;

const BUDGET: Duration = Duration::from_secs(4);

fn invocation() -> Invocation {
    let parcel = Parcel { connection: "c=".into(), batch: 0, runs: vec![(0, 1)], close: false };
    Invocation {
        lane: 3,
        number: 1,
        budget_ms: 4000,
        deadline_ms: None,
        messages: vec![RawValue::from_string("{\"n\":1}".into()).expect("message")],
        parcels: vec![parcel],
    }
}

/// A function that answers this to what must be a good request.
async fn invoke(status: u16, error: &'static str, body: &'static str) -> Result<Receipt, InvokeError> {
    let answer = move |Path(function): Path<String>, headers: HeaderMap, sent: String| async move {
        assert_eq!(function, "arn:aws:lambda:eu-central-1:1:function:fanout");
        assert_eq!(headers["x-amz-invocation-type"], "RequestResponse");
        assert!(headers["authorization"].to_str().expect("text").contains("/lambda/aws4_request"));
        let sent: Invocation = serde_json::from_str(&sent).expect("invocation");
        assert_eq!(sent.parcels, invocation().parcels);
        let response = Response::builder().status(status);
        let named = if status == 200 { "x-amz-function-error" } else { "x-amzn-errortype" };
        let response = if error.is_empty() { response } else { response.header(named, error) };
        response.body(Body::from(body)).expect("response")
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let app = Router::new().route("/2015-03-31/functions/{function}/invocations", post(answer));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(axum::serve(listener, app).into_future());
    invoker(&url).await.invoke(&invocation()).await
}

async fn invoker(url: &str) -> LambdaInvoker {
    let aws = Aws::for_tests(url).await;
    aws.lambda("arn:aws:lambda:eu-central-1:1:function:fanout").expect("invoker")
}

fn failed_after(outcome: &Result<Receipt, InvokeError>) -> Option<Duration> {
    match outcome {
        Err(InvokeError::Failed { after, .. }) => Some(*after),
        _ => None,
    }
}

#[tokio::test]
async fn a_receipt_comes_back() {
    let receipt = invoke(200, "", r#"{"deliveries":[{"taken":1}]}"#).await;
    assert_eq!(receipt, Ok(Receipt { deliveries: vec![Delivery { taken: 1, stop: None }] }));
}

#[tokio::test]
async fn what_lambda_refuses_was_not_started() {
    for (status, error) in [
        (429, "TooManyRequestsException"),
        (404, "ResourceNotFoundException"),
        (403, "AccessDeniedException"),
    ] {
        let refused = invoke(status, error, "{}").await.expect_err("refused");
        assert_eq!(refused, InvokeError::NotStarted(format!("{status} {error}: {{}}")));
    }
    let absent = invoker("http://127.0.0.1:9").await.invoke(&invocation()).await;
    assert!(matches!(absent, Err(InvokeError::NotStarted(_))), "nobody to send to: {absent:?}");
}

#[tokio::test]
async fn a_function_that_ended_posts_no_more() {
    for (error, body) in
        [("Unhandled", r#"{"errorMessage":"Task timed out"}"#), ("", "{}"), ("", r#"{"deliveries":[]}"#)]
    {
        assert_eq!(failed_after(&invoke(200, error, body).await), Some(SETTLE), "{error} {body}");
    }
}

#[tokio::test]
async fn without_an_answer_a_whole_budget_is_waited_for() {
    assert_eq!(failed_after(&invoke(500, "ServiceException", "").await), Some(BUDGET));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    // Takes the request and closes.
    let closing = async move {
        let (socket, _) = listener.accept().await.expect("accept");
        socket.readable().await.expect("a request");
    };
    let (outcome, ()) = tokio::join!(async { invoker(&url).await.invoke(&invocation()).await }, closing);
    assert_eq!(failed_after(&outcome), Some(BUDGET));
}

#[tokio::test]
async fn an_answer_is_not_waited_for_forever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let hurried = LambdaInvoker { margin: Duration::from_millis(50), ..invoker(&url).await };
    let (start, invocation) = (Instant::now(), Invocation { budget_ms: 50, ..invocation() });
    assert_eq!(failed_after(&hurried.invoke(&invocation).await), Some(Duration::from_millis(50)));
    assert!(start.elapsed() >= Duration::from_millis(100), "budget and margin are given");
}
